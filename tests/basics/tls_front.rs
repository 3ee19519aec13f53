//! TLS in front of a server of the kit, with a certificate made for the test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Takes DNS over TLS (RFC 7858) for a server that speaks plain TCP.
pub struct TlsFront {
    pub address: SocketAddr,
    /// PEM; whoever trusts it trusts this server.
    pub certificate: String,
}

impl TlsFront {
    /// The threads end with their connections, and the process.
    pub fn start(name: &str, behind: SocketAddr) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a valid name");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key that was just made");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("key and certificate fit");
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let config = config.clone();
                thread::spawn(move || relay(stream, config, behind));
            }
        });
        TlsFront { address, certificate: made.cert.pem() }
    }
}

/// Message by message, each behind its length; ends when either side does.
fn relay(stream: TcpStream, config: Arc<ServerConfig>, behind: SocketAddr) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut client = StreamOwned::new(connection, stream);
    let mut server = TcpStream::connect(behind)?;
    loop {
        pass_message(&mut client, &mut server)?;
        pass_message(&mut server, &mut client)?;
    }
}

fn pass_message(from: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut length = [0; 2];
    from.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    from.read_exact(&mut message)?;
    to.write_all(&[&length[..], &message].concat())?;
    to.flush()
}
