//! tokio: a task a connection. Its buffer lives in the task.

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{ADDRESS, BUFFER, announce};
use crate::rival::Rival;
use crate::runtime::Tokio;

pub(super) fn serve(rival: Rival) -> Result<()> {
    Tokio::new(rival).run(async {
        let listener = TcpListener::bind(ADDRESS).await?;
        announce(listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(converse(stream));
        }
    })
}

async fn converse(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(received) => {
                if stream.write_all(&buffer[..received]).await.is_err() {
                    return;
                }
            }
        }
    }
}
