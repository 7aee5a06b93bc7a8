//! Room databases as the server uses them: by calls and outcomes, with real files in a folder of their own.

mod attacks;
mod files;
mod groups;
mod lanes;
mod methods;
mod model;
mod sight;
mod world;
