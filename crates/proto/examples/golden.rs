//! Prints a golden file: `cargo run -p anser-proto --example golden frames > golden/frames.json`,
//! and the same with `sealed`. Only a change of the protocol is a reason to do so.

#[path = "../tests/it/sealed_vectors.rs"]
mod sealed_vectors;
#[path = "../tests/it/vectors.rs"]
mod vectors;

fn main() {
    let json = match std::env::args().nth(1).as_deref() {
        Some("frames") => vectors::frames_json(),
        Some("sealed") => sealed_vectors::sealed_json(),
        _ => {
            eprintln!("usage: golden frames | sealed");
            std::process::exit(2);
        }
    };
    println!("{json:#}");
}
