//! Prints what is generated from the code for readers outside of it:
//! `cargo run -p anser-proto --example golden frames > golden/frames.json`, the same with `sealed`
//! and `files`, and `codes` and `walkthrough` for docs/protocol.md. Only a change of the protocol
//! is a reason.

#[path = "../tests/it/file_vectors.rs"]
mod file_vectors;
#[path = "../tests/it/sealed_vectors.rs"]
mod sealed_vectors;
#[path = "../tests/it/vectors.rs"]
mod vectors;
#[path = "../tests/it/walkthrough.rs"]
mod walkthrough;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("frames") => println!("{:#}", vectors::frames_json()),
        Some("files") => println!("{:#}", file_vectors::files_json()),
        Some("sealed") => println!("{:#}", sealed_vectors::sealed_json()),
        Some("codes") => print!("{}", walkthrough::codes()),
        Some("walkthrough") => print!("{}", walkthrough::walkthrough()),
        _ => {
            eprintln!("usage: golden frames | sealed | files | codes | walkthrough");
            std::process::exit(2);
        }
    }
}
