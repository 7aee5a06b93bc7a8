//! Credentials from outside: what is accepted, and everything that must not be. Tables of cases, one `check` for each boundary.

mod api_keys;
mod attacks;
mod claims;
mod document_tokens;
mod inspecting;
mod issuer;
mod key_sets;
mod minting;
mod mutations;
mod vectors;
