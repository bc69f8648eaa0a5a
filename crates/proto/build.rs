//! Compiles `anser/v1/anser.proto` without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["anser/v1/anser.proto"], ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        // It holds the token: `wire.rs` writes a Debug that hides it.
        .skip_debug(["anser.v1.Hello"])
        .compile_fds(descriptors)?;
    Ok(())
}
