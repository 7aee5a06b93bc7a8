//! Runs one fan-out workload: `load URL PID ROOMS CLIENTS WRITERS (rate PER_SECOND | flight UPDATES) SECONDS [TEXT_BYTES]`.

use load::{Fanout, Pace, Process};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |place: usize| words.get(place).map(String::as_str).ok_or(format!("argument {} is missing", place + 1));
    let pace = match word(5)? {
        "rate" => Pace::PerSecond(word(6)?.parse()?),
        _ => Pace::InFlight(word(6)?.parse()?),
    };
    let fanout = Fanout {
        url: word(0)?.to_owned(),
        server: Some(Process(word(1)?.parse()?)),
        rooms: word(2)?.parse()?,
        clients: word(3)?.parse()?,
        writers: word(4)?.parse()?,
        pace,
        text_bytes: word(8).unwrap_or("80").parse()?,
        warm_up_s: 2.0,
        run_s: word(7)?.parse()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", runtime.block_on(fanout.run())?);
    Ok(())
}
