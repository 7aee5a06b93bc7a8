//! Room databases as the server uses them: by calls and outcomes, with real files in a folder of their own.

mod methods;
mod world;
