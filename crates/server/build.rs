//! Compiles `anser/cluster/v1/link.proto` without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../proto/proto/anser/cluster");
    let descriptors = protox::compile(["anser/cluster/v1/link.proto"], ["../proto/proto"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
