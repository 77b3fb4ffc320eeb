//! The provisioning server.
