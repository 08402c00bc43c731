//! The pages whose programs not everybody has: `.ci/prepare-use` installs them, and `make test-use` runs these tests.

mod apache;
mod etcd;
mod guest;
mod mariadb;
mod mosquitto;
mod nats;
mod openvpn;
mod rabbitmq;
pub mod resumption;
mod stunnel;
