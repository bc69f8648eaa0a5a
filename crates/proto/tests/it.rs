//! What the crate promises from outside: codec, golden files, random operations, docs in step.

#[path = "it/codec.rs"]
mod codec;
#[path = "it/docs.rs"]
mod docs;
#[path = "it/file_vectors.rs"]
mod file_vectors;
#[path = "it/golden.rs"]
mod golden;
#[path = "it/operations.rs"]
mod operations;
#[path = "it/sealed_vectors.rs"]
mod sealed_vectors;
#[path = "it/vectors.rs"]
mod vectors;
#[path = "it/walkthrough.rs"]
mod walkthrough;
