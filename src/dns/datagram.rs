//! Questions over UDP: one fresh socket for both families of a look-up.
//!
//! hickory's own UDP client opens a socket for each question and encodes and parses each question thrice; and its sockets are not
//! connected, so that the refusal of a dead server is heard only as silence.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::task::{Poll, ready};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use smallvec::SmallVec;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::Error;
use super::message::{self, Family};
use super::progress::{Progress, Questions};
use super::stream::Stream;

/// Asks `server` all `questions`, and again while an answer is missing. An answer that did not fit comes by `stream`.
///
/// Ends when all are answered; how long that may take is the caller's business.
pub(super) async fn exchange(server: SocketAddr, stream: &Stream, questions: Questions, progress: &Progress) -> Result<(), Error> {
    let socket = open(server).map_err(|_| Error::Unreachable)?;
    let mut open: SmallVec<[(Family, Message); 2]> =
        questions.iter().map(|(family, name)| (*family, message::question(name, *family, true))).collect();
    for (_, question) in &open {
        send(&socket, question).await?;
    }
    let mut patience = FIRST_PATIENCE;
    let mut ask_again_at = Instant::now() + patience;
    while !open.is_empty() {
        let received = tokio::select! {
            received = receive(&socket) => received.map_err(|_| Error::Unreachable)?,
            () = tokio::time::sleep_until(ask_again_at) => {
                for (_, question) in &open {
                    send(&socket, question).await?;
                }
                patience *= 2;
                ask_again_at = Instant::now() + patience;
                continue;
            }
        };
        // What is malformed or not asked for may be forged: the true answer may still come.
        let Some(answer) = received else { continue };
        let Some(index) = open.iter().position(|(_, question)| message::answers(&answer, question)) else { continue };
        let (family, question) = &mut open[index];
        if question.edns.is_some() && matches!(answer.metadata.response_code, ResponseCode::FormErr | ResponseCode::NotImp) {
            // A server from before EDNS (RFC 6891 section 7).
            question.edns = None;
            send(&socket, question).await?;
            continue;
        }
        let (family, question) = (*family, open.swap_remove(index).1);
        if answer.metadata.truncation {
            // Boxed, being rare: what most look-ups need stays small.
            match Box::pin(stream.exchange(question)).await {
                Ok(answer) => progress.answer(family, &answer),
                Err(error) => progress.failed(Some(family), error),
            }
        } else {
            progress.answer(family, &answer);
        }
    }
    Ok(())
}

/// A datagram or its answer may be lost; servers behind the one asked may also be slow, and a second question costs them little.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// Servers should keep to [`message::MAX_PAYLOAD`]; some do not.
const BUFFER: usize = 4096;

/// Connected, so that the kernel sorts out what comes from elsewhere and tells of refusals; the port is the kernel's random choice.
fn open(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(server), socket2::Type::DGRAM.nonblocking(), None)?;
    socket.connect(&server.into())?;
    UdpSocket::from_std(socket.into())
}

/// The next message; `None` for what is no message. The room for it is needed no longer than that takes.
async fn receive(socket: &UdpSocket) -> io::Result<Option<Message>> {
    poll_fn(|context| {
        let mut room = [MaybeUninit::uninit(); BUFFER];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(socket.poll_recv(context, &mut buffer))?;
        Poll::Ready(Ok(Message::from_vec(buffer.filled()).ok()))
    })
    .await
}

async fn send(socket: &UdpSocket, question: &Message) -> Result<(), Error> {
    let bytes = question.to_vec().map_err(|_| Error::ServerFailure)?;
    socket.send(&bytes).await.map(drop).map_err(|_| Error::Unreachable)
}
