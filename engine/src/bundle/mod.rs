//! OCI bundles: a container's record and what its image says become an `oci_spec::runtime::Spec`.
