//! Compiles the contract with protox, so that no protoc is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos =
        ["eoscast/worker/v1/worker.proto", "eoscast/predictor/v1/predictor.proto", "xds/service/orca/v3/orca.proto"];
    println!("cargo:rerun-if-changed=eoscast");
    println!("cargo:rerun-if-changed=xds");
    let descriptors = protox::compile(protos, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("eoscast.bin"), prost_encode(&descriptors))?;
    tonic_prost_build::configure().codec_path("crate::codec::MessageCodec").compile_fds(descriptors)?;
    Ok(())
}

fn prost_encode(descriptors: &impl protox::prost::Message) -> Vec<u8> {
    descriptors.encode_to_vec()
}
