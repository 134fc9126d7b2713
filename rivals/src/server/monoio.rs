//! monoio: a task a connection, on io_uring where the kernel has it. The buffer belongs to the operation while it runs,
//! so it lives on the heap.

use anyhow::Result;
use monoio::FusionDriver;
use monoio::io::{AsyncReadRent as _, AsyncWriteRentExt as _};
use monoio::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};

pub(super) fn serve() -> Result<()> {
    monoio::RuntimeBuilder::<FusionDriver>::new().with_entries(32_768).build()?.block_on(async {
        let listener = TcpListener::bind(ADDRESS)?;
        announce(listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(converse(stream));
        }
    })
}

async fn converse(mut stream: TcpStream) {
    let mut buffer: Vec<u8> = Vec::with_capacity(BUFFER);
    loop {
        let received;
        (received, buffer) = stream.read(buffer).await;
        if !matches!(received, Ok(1..)) {
            return;
        }
        let sent;
        (sent, buffer) = stream.write_all(buffer).await;
        if sent.is_err() {
            return;
        }
        buffer.clear();
    }
}
