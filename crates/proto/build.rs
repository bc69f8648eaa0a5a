//! Compiles the `.proto` files without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        // They hold a token and a key: `wire.rs` writes a Debug that hides it.
        .skip_debug(["anser.v1.Hello", "anser.v1.File"])
        .compile_fds(descriptors)?;
    Ok(())
}

const FILES: [&str; 2] = ["anser/v1/anser.proto", "anser/cluster/v1/queue.proto"];
