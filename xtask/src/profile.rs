//! What callgrind wrote: for each phase of the script the instructions of each function itself. Reads the text format only, with whole names and one
//! event; everything else in it (files, calls, addresses) is passed over.

use std::collections::BTreeMap;

/// Instructions by function, names without what differs from build to build or from machine to machine.
pub(crate) type Functions = BTreeMap<String, u64>;

/// What a dump says when it was made because this function returned.
const TRIGGER: &str = "desc: Trigger: --dump-after=";

/// The dumps in a file, each by the function whose return caused it. What was dumped for another reason is left out.
pub(crate) fn read(text: &str) -> BTreeMap<String, Functions> {
    let mut dumps: BTreeMap<String, Functions> = BTreeMap::new();
    let (mut dump, mut function, mut is_call) = (None, String::new(), false);
    for line in text.lines() {
        if line.starts_with("part: ") {
            dump = None;
        } else if let Some(trigger) = line.strip_prefix(TRIGGER) {
            dump = Some(dumps.entry(trigger.to_owned()).or_default());
        } else if let Some(name) = line.strip_prefix("fn=") {
            function = normal(name);
        } else if line.starts_with("calls=") {
            // The line after it is what was called, not the function itself.
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit()) && !std::mem::take(&mut is_call) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if let (Some(dump), Some(cost)) = (&mut dump, cost) {
                *dump.entry(function.clone()).or_default() += cost;
            }
        }
    }
    dumps
}

/// A function's name without hashes, the compiler's copies of it, and the processor that a routine of libc was chosen for.
fn normal(name: &str) -> String {
    let name = name.split('\'').next().unwrap_or(name);
    let name = ["constprop", "part", "cold", "llvm", "isra"]
        .iter()
        .filter_map(|copy| name.find(&format!(".{copy}.")))
        .min()
        .map_or(name, |end| &name[..end]);
    let name = name.rsplit_once("::h").filter(|(_, hash)| is_hash(hash)).map_or(name, |(name, _)| name);
    let name = name.split('@').next().unwrap_or(name);
    let processors = ["_sse", "_avx", "_evex", "_erms", "_ssse"];
    match processors.iter().filter_map(|processor| name.find(processor)).min() {
        Some(end) if name.starts_with("__") => {
            name[..end].trim_start_matches('_').trim_end_matches("_unaligned").to_owned()
        }
        _ => without_crate_hashes(name),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// `room[1234567890abcdef]::room` is `room::room`.
fn without_crate_hashes(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, behind)) = rest.split_once('[') {
        out.push_str(before);
        match behind.split_once(']') {
            Some((hash, behind)) if is_hash(hash) => rest = behind,
            _ => {
                out.push('[');
                rest = behind;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_they_are_in_the_source() {
        let cases = [
            ("room::room::Room::handle", "room::room::Room::handle"),
            ("room::room::Room::handle::h0123456789abcdef", "room::room::Room::handle"),
            ("room::room::Room::has", "room::room::Room::has"),
            ("room[0123456789abcdef]::room::<[T] as Slice>::x", "room::room::<[T] as Slice>::x"),
            ("script::walk'2", "script::walk"),
            ("unlink_chunk.constprop.0", "unlink_chunk"),
            ("document::Document::add.llvm.123", "document::Document::add"),
            ("__memcpy_avx_unaligned_erms", "memcpy"),
            ("__memset_avx2_unaligned_erms", "memset"),
            ("__memcmp_avx2_movbe", "memcmp"),
            ("__memcmp_evex_movbe", "memcmp"),
            ("memcpy@@GLIBC_2.14", "memcpy"),
        ];
        for (name, expected) in cases {
            assert_eq!(normal(name), expected, "{name}");
        }
    }

    #[test]
    fn functions_are_summed_by_dump_without_what_they_call() {
        let text = "# callgrind format\npart: 1\ndesc: Trigger: --dump-after=script::one\nevents: Ir\nsummary: 60\n\n\
            fl=a.rs\nfn=script::one\n10 5\nfi=b.rs\n7 1\ncfn=lib::two\ncalls=3 20\n11 54\n12 4\n\n\
            fn=lib::two::h0123456789abcdef\n20 30\nfn=lib::two\n0 20\ntotals: 60\n\
            part: 2\ndesc: Trigger: Program termination\nfn=lib::two\n1 1000\n\
            part: 3\ndesc: Trigger: --dump-after=script::three\nfn=lib::two\n1 7\n";
        let dumps = read(text);
        let dumps: Vec<(&str, Vec<(&str, u64)>)> = dumps
            .iter()
            .map(|(name, dump)| (name.as_str(), dump.iter().map(|(name, cost)| (name.as_str(), *cost)).collect()))
            .collect();
        assert_eq!(
            dumps,
            [("script::one", vec![("lib::two", 50), ("script::one", 10)]), ("script::three", vec![("lib::two", 7)])]
        );
    }
}
