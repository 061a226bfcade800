//! Server reflection: what a server serves, and the types of error details.

use tonic_reflection::pb;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tonic_reflection::server::v1alpha::{
    ServerReflection as ServerReflectionAlpha, ServerReflectionServer as ServerReflectionServerAlpha,
};
use tonic_reflection::server::{Builder, Error};

use crate::FILE_DESCRIPTOR_SET;

/// Both versions of reflection, for a server of these services and health checks. grpcurl 1.8.6, Postman and evans know only v1alpha.
///
/// # Errors
/// Never in practice: the descriptors come from the compiler.
pub fn services(
    services: &[&str],
) -> Result<
    (ServerReflectionServer<impl ServerReflection>, ServerReflectionServerAlpha<impl ServerReflectionAlpha>),
    Error,
> {
    Ok((builder(services).build_v1()?, builder(services).build_v1alpha()?))
}

/// Our descriptors hold the service of the other side, too, which is not served here. So what is served is named.
fn builder(services: &[&str]) -> Builder<'static> {
    let common = [
        tonic_health::pb::health_server::SERVICE_NAME,
        pb::v1::server_reflection_server::SERVICE_NAME,
        pb::v1alpha::server_reflection_server::SERVICE_NAME,
    ];
    let descriptors = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        pb::v1::FILE_DESCRIPTOR_SET,
        pb::v1alpha::FILE_DESCRIPTOR_SET,
        // Without it clients print the details of errors as bytes, or not at all.
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ];
    let builder = descriptors.into_iter().fold(Builder::configure(), Builder::register_encoded_file_descriptor_set);
    services.iter().copied().chain(common).fold(builder, |builder, name| builder.with_service_name(name))
}
