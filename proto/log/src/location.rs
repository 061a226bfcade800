//! Where the event log lies, and how its files are called.
//!
//! | location | file being written | files rotated away |
//! | --- | --- | --- |
//! | folder `d` | `d/steps-0000000000001200.jsonl` | `d/steps-0000000000000000.jsonl` |
//! | file `d/x.jsonl` | `d/x.jsonl`, `d/x.starts.jsonl` | `d/x-0000000000000000.jsonl`, `d/x.starts-0000000000000000.jsonl` |
//!
//! The number is that of the file's first line in its series, counted from 0 over all files that ever were. Files that are full may be
//! packed with gzip, as `steps-0000000000000000.jsonl.gz`; they are read, counted and removed like the others.

use std::io;
use std::path::{Path, PathBuf};

use crate::packed;

/// What comes between the name of a log file and `.jsonl` in the name of the file with the decisions of retraining.
pub const RETRAININGS: &str = "retrainings";
/// The same of the file with the gaps of the log.
pub const GAPS: &str = "gaps";

/// A kind of line; each kind has files of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// One line per request that arrived.
    Starts,
    /// One line per finished request.
    Requests,
    /// One line per step event.
    Steps,
}

impl Series {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Starts, Self::Requests, Self::Steps];

    /// As it stands in file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starts => "starts",
            Self::Requests => "requests",
            Self::Steps => "steps",
        }
    }
}

/// One file of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// Number of its first line; `None` where the name does not say so.
    pub offset: Option<u64>,
}

impl Segment {
    /// Its name says that it is packed: no line can be appended to it or cut off.
    pub fn is_packed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "gz")
    }
}

/// A folder of segments, or one file with its companions beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// All segments in this folder.
    Folder(PathBuf),
    /// Step lines in this file.
    File(PathBuf),
}

impl Location {
    /// A path is a folder if it is one, ends in a slash or has no extension; otherwise a file.
    pub fn parse(path: &Path) -> Self {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        if path.is_dir() || slash || (path.extension().is_none() && !path.is_file()) {
            Self::Folder(path.to_owned())
        } else {
            Self::File(path.to_owned())
        }
    }

    /// As the operator named it.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::File(path) => path,
        }
    }

    /// The folder that holds the files.
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::Folder(path) => path.clone(),
            Self::File(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            },
        }
    }

    /// The file whose lock says that a predictor writes here.
    pub fn lock_file(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(".lock"),
            Self::File(file) => file.with_extension("lock"),
        }
    }

    /// The file to write, when its first line is line `offset` of the series.
    pub fn active(&self, series: Series, offset: u64) -> PathBuf {
        match self {
            Self::Folder(_) => self.rotated(series, offset),
            Self::File(file) if series == Series::Steps => file.clone(),
            Self::File(_) => self.folder().join(format!("{}.jsonl", self.stem(series))),
        }
    }

    /// The name under which a full file stays, when its first line is line `offset` of the series.
    pub fn rotated(&self, series: Series, offset: u64) -> PathBuf {
        self.folder().join(format!("{}-{offset:016}.jsonl", self.stem(series)))
    }

    /// What file names of the series begin with.
    fn stem(&self, series: Series) -> String {
        match self {
            Self::Folder(_) => series.as_str().to_owned(),
            Self::File(file) => {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                if series == Series::Steps { stem.into_owned() } else { format!("{stem}.{}", series.as_str()) }
            }
        }
    }

    /// A file of this name that belongs to the log.
    pub fn beside(&self, name: &str) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join(name),
            Self::File(file) => {
                let stem = file.file_stem().unwrap_or_default().to_string_lossy();
                self.folder().join(format!("{stem}.{name}"))
            }
        }
    }

    /// The file beside the log with the decisions of retraining.
    pub fn retrainings(&self) -> PathBuf {
        self.beside(&format!("{RETRAININGS}.jsonl"))
    }

    /// The file beside the log with its gaps.
    pub fn gaps(&self) -> PathBuf {
        self.beside(&format!("{GAPS}.jsonl"))
    }

    /// The newest files of a series, oldest first, until they have `bytes` bytes of lines, counted unpacked; and whether these are all.
    /// The oldest of them may hold more than is left of `bytes`.
    ///
    /// # Errors
    /// When the folder or a packed file cannot be read.
    pub fn newest(&self, series: Series, bytes: u64) -> io::Result<(Vec<Segment>, bool)> {
        let all = self.segments(series)?;
        if bytes == u64::MAX {
            // Nothing to weigh.
            return Ok((all, true));
        }
        let (mut found, mut first) = (0, all.len());
        while first > 0 && found < bytes {
            first -= 1;
            found += packed::unpacked_bytes(&all[first].path, bytes - found)?;
        }
        Ok((all.into_iter().skip(first).collect(), first == 0))
    }

    /// Bytes of all files of the log as they lie on the disk.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn bytes(&self) -> io::Result<u64> {
        let mut bytes = 0;
        for series in Series::ALL {
            for segment in self.segments(series)? {
                bytes += std::fs::metadata(&segment.path)?.len();
            }
        }
        Ok(bytes)
    }

    /// The files of a series, oldest first, packed or not: all that there is to read. Of a file that is there in both forms, only the
    /// one that is not packed.
    ///
    /// # Errors
    /// When the folder cannot be read; one that is missing has no files.
    pub fn segments(&self, series: Series) -> io::Result<Vec<Segment>> {
        let mut segments = self.files(series)?;
        segments.dedup_by_key(|segment| segment.offset);
        Ok(segments)
    }

    /// The same with both forms of a file that is there packed and not packed, the latter first.
    ///
    /// # Errors
    /// When the folder cannot be read; one that is missing has no files.
    pub(crate) fn files(&self, series: Series) -> io::Result<Vec<Segment>> {
        let prefix = format!("{}-", self.stem(series));
        let entries = match std::fs::read_dir(self.folder()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let mut segments = vec![];
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let rest = name.strip_prefix(&prefix);
            let digits = rest.and_then(|rest| rest.strip_suffix(".gz").unwrap_or(rest).strip_suffix(".jsonl"));
            if let Some(offset) = digits.filter(|digits| digits.len() == 16).and_then(|digits| digits.parse().ok()) {
                segments.push(Segment { path: path.clone(), offset: Some(offset) });
            }
        }
        segments.sort_by(|a, b| a.offset.cmp(&b.offset).then_with(|| a.path.cmp(&b.path)));
        let active = self.active(series, 0);
        if matches!(self, Self::File(_)) && active.is_file() {
            segments.push(Segment { path: active, offset: None });
        }
        Ok(segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_an_extension_is_a_file_and_others_are_folders() {
        let folder = tempfile::tempdir().unwrap();
        let dotted = folder.path().join("logs.d");
        std::fs::create_dir(&dotted).unwrap();
        assert_eq!(Location::parse(&dotted), Location::Folder(dotted));
        for name in ["logs", "logs.x/"] {
            assert!(matches!(Location::parse(&folder.path().join(name)), Location::Folder(_)), "{name}");
        }
        assert!(matches!(Location::parse(Path::new("x.jsonl")), Location::File(_)));
    }

    #[test]
    fn companions_of_a_log_file_lie_beside_it() {
        let location = Location::File("/a/x.jsonl".into());
        assert_eq!(location.active(Series::Steps, 7), Path::new("/a/x.jsonl"));
        assert_eq!(location.active(Series::Requests, 7), Path::new("/a/x.requests.jsonl"));
        assert_eq!(location.rotated(Series::Steps, 7), Path::new("/a/x-0000000000000007.jsonl"));
    }

    #[test]
    fn segments_are_listed_by_their_offset_and_strangers_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["steps-0000000000000010.jsonl", "steps-0000000000000002.jsonl", "steps-x.jsonl", "steps-3.jsonl"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let segments = Location::parse(folder.path()).segments(Series::Steps).unwrap();
        assert_eq!(segments.iter().map(|s| s.offset).collect::<Vec<_>>(), [Some(2), Some(10)]);
    }

    #[test]
    fn a_file_that_is_there_packed_too_is_listed_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in
            ["steps-0000000000000000.jsonl.gz", "steps-0000000000000000.jsonl", "steps-0000000000000005.jsonl.gz"]
        {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let location = Location::parse(folder.path());
        let segments = location.segments(Series::Steps).unwrap();
        assert_eq!(segments.iter().map(Segment::is_packed).collect::<Vec<_>>(), [false, true]);
        assert_eq!(location.files(Series::Steps).unwrap().len(), 3);
    }

    #[test]
    fn the_newest_files_are_weighed_as_what_they_unpack_to() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"{}\n".repeat(1_000);
        let name = |number: u32| folder.path().join(format!("steps-{number:016}.jsonl"));
        for number in [0, 1_000, 2_000] {
            std::fs::write(name(number).with_extension("jsonl.gz"), packed::tests::packed(&text)).unwrap();
        }
        std::fs::write(name(3_000), &text).unwrap();
        let location = Location::parse(folder.path());
        let newest = |bytes| {
            let (segments, is_all) = location.newest(Series::Steps, bytes).unwrap();
            (segments.iter().map(|segment| segment.offset.unwrap()).collect::<Vec<_>>(), is_all)
        };
        assert_eq!(newest(3_000), (vec![3_000], false));
        assert_eq!(newest(3_001), (vec![2_000, 3_000], false));
        assert_eq!(newest(9_000), (vec![1_000, 2_000, 3_000], false));
        assert_eq!(newest(u64::MAX), (vec![0, 1_000, 2_000, 3_000], true));
    }
}
