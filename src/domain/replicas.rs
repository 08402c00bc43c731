//! Replicas: where the change log and its snapshots go, how often, and what is to be there before it is answered.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use crate::domain::duration;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What is to be in a replica before it is answered.
    pub enum Synchronous {
        /// Whatever denies a certificate or an identity.
        Revocations = "revocations",
        /// What lets a host in for the first time, or again.
        Enrollments = "enrollments",
    }
}

vocabulary! {
    /// What a replica is doing.
    wire pub enum ReplicaState {
        // Nobody has looked at it yet.
        Starting = "starting",
        // It has what is to be had, or gets it.
        Following = "following",
        // The last attempt came to nothing; it is tried again.
        Behind = "behind",
        // A name can be given twice there, so nothing keeps two servers apart.
        Unsafe = "unsafe",
        // What lies there is not this store's history.
        Foreign = "foreign",
    }
}

impl ReplicaState {
    /// Whether nothing is written there until the operator has decided something.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Unsafe | Self::Foreign)
    }
}

/// Where a replica lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaPlace {
    /// A directory, on another disk or another machine's.
    Folder(PathBuf),
    /// A bucket of an object store that speaks S3.
    Bucket {
        /// Its name.
        bucket: String,
        /// What the names in it begin with; may be empty.
        prefix: String,
    },
}

/// One replica, as the settings have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSettings {
    /// Where it lies.
    pub place: ReplicaPlace,
    /// How long a change may wait before it is sent.
    pub every: SignedDuration,
    /// The time between two snapshots.
    pub snapshot_every: SignedDuration,
    /// How far back the store can be restored.
    pub keep: SignedDuration,
    /// What waits for it.
    pub synchronous: Vec<Synchronous>,
    /// After how long out of its reach nothing is issued any more.
    pub fence: Option<SignedDuration>,
    /// The address of an object store other than Amazon's.
    pub endpoint: Option<String>,
    /// The region of a bucket.
    pub region: Option<String>,
    /// A file with the access key, as programs of Amazon's have it.
    pub credentials_file: Option<PathBuf>,
    /// Certificates that vouch for the object store, instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The text is no list of replicas.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReplicas {
    /// A part is none of the settings of a replica.
    #[error("'{0}' is no setting of a replica")]
    Unknown(String),
    /// It has no address.
    #[error("a replica has no 'url'")]
    NoUrl,
    /// Its address is none.
    #[error("'url' is neither file:///PATH nor s3://BUCKET/PREFIX")]
    Url,
    /// A duration is none, or too short or too long.
    #[error("'{0}' is no duration between {1} and {2}")]
    Duration(&'static str, &'static str, &'static str),
    /// It is kept for less time than lies between two snapshots.
    #[error("'keep' is shorter than 'snapshot_every'")]
    Keep,
    /// What is to wait is none of the two.
    #[error("'synchronous' names something other than revocations and enrollments")]
    Synchronous,
    /// A path means another place with each start.
    #[error("'{0}' is not a path that begins with /")]
    Relative(&'static str),
    /// It is for buckets alone.
    #[error("'{0}' is for s3:// alone")]
    ForBuckets(&'static str),
    /// Its address is none.
    #[error("'endpoint' is not http://HOST:PORT or https://HOST:PORT")]
    Endpoint,
    /// Two have one address.
    #[error("two replicas have the same 'url'")]
    Twice,
    /// More than anybody has.
    #[error("there are more than {MOST}")]
    TooMany,
}

/// Of one server.
const MOST: usize = 8;

const EVERY: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_millis(50)..=SignedDuration::from_hours(1);
const SNAPSHOT_EVERY: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(1)..=SignedDuration::from_hours(30 * 24);
const FENCE: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(1)..=SignedDuration::from_hours(24);
const KEEP: std::ops::RangeInclusive<SignedDuration> =
    SignedDuration::from_secs(1)..=SignedDuration::from_hours(3660 * 24);

impl ReplicaPlace {
    /// Reads `file:///PATH` or `s3://BUCKET/PREFIX`.
    pub fn read(url: &str) -> Result<Self, NotReplicas> {
        if let Some(path) = url.strip_prefix("file://") {
            let path = PathBuf::from(path);
            let plain = path.is_absolute() && path != Path::new("/");
            return if plain { Ok(Self::Folder(path)) } else { Err(NotReplicas::Url) };
        }
        let (bucket, prefix) = url
            .strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
            .ok_or(NotReplicas::Url)?;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
        if bucket.is_empty() || !plain(bucket) || !plain(prefix) || prefix.contains("..") {
            return Err(NotReplicas::Url);
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }
}

impl fmt::Display for ReplicaPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl fmt::Display for ReplicaSettings {
    /// As [`ReplicaSettings::read`] reads it. Nothing in it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |duration: SignedDuration| format!("{}ms", duration.as_millis());
        let (every, snapshots) = (milliseconds(self.every), milliseconds(self.snapshot_every));
        write!(f, "url={},every={every},snapshot_every={snapshots}", self.place)?;
        write!(f, ",keep={}", milliseconds(self.keep))?;
        if !self.synchronous.is_empty() {
            let words: Vec<_> = self.synchronous.iter().map(|word| word.as_str()).collect();
            write!(f, ",synchronous={}", words.join("+"))?;
        }
        if let Some(fence) = self.fence {
            write!(f, ",fence={}", milliseconds(fence))?;
        }
        let texts = [("endpoint", &self.endpoint), ("region", &self.region)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            write!(f, ",{name}={text}")?;
        }
        let paths = [("credentials_file", &self.credentials_file), ("ca_file", &self.ca_file)];
        for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path.as_ref()?))) {
            write!(f, ",{name}={}", path.display())?;
        }
        Ok(())
    }
}

impl ReplicaSettings {
    /// One at this address, with everything else as by default.
    pub fn at(url: &str) -> Result<Self, NotReplicas> {
        Ok(Self {
            place: ReplicaPlace::read(url)?,
            every: SignedDuration::from_secs(1),
            snapshot_every: SignedDuration::from_hours(24),
            keep: SignedDuration::from_hours(30 * 24),
            synchronous: Vec::new(),
            fence: None,
            endpoint: None,
            region: None,
            credentials_file: None,
            ca_file: None,
        })
    }

    /// Reads replicas such as `url=file:///mnt/nas/muster,every=1s,synchronous=revocations+enrollments`, with `;` between
    /// two. What is left out is as by default.
    pub fn read(text: &str) -> Result<Vec<Self>, NotReplicas> {
        let mut all: Vec<Self> = Vec::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let replica = Self::read_one(entry)?;
            if all.iter().any(|other| other.place == replica.place) {
                return Err(NotReplicas::Twice);
            }
            all.push(replica);
        }
        match all.len() {
            0 => Err(NotReplicas::NoUrl),
            1..=MOST => Ok(all),
            _ => Err(NotReplicas::TooMany),
        }
    }

    fn read_one(text: &str) -> Result<Self, NotReplicas> {
        let parts: Vec<(&str, &str)> =
            text.split(',').map(|part| part.trim().split_once('=').unwrap_or((part.trim(), ""))).collect();
        let url = parts.iter().find(|(key, _)| *key == "url").ok_or(NotReplicas::NoUrl)?;
        let mut replica = Self::at(url.1)?;
        for (key, value) in parts {
            match key {
                "url" => {}
                "every" => replica.every = between(value, &EVERY, ("every", "50ms", "1h"))?,
                "snapshot_every" => {
                    replica.snapshot_every =
                        between(value, &SNAPSHOT_EVERY, ("snapshot_every", "1s", "30d"))?;
                }
                "keep" => replica.keep = between(value, &KEEP, ("keep", "1s", "3660d"))?,
                "fence" => replica.fence = Some(between(value, &FENCE, ("fence", "1s", "24h"))?),
                "synchronous" => {
                    let words = value.split('+').filter(|word| !word.is_empty());
                    let words = words.map(str::parse).collect::<Result<_, _>>();
                    replica.synchronous = words.map_err(|_| NotReplicas::Synchronous)?;
                }
                "endpoint" => replica.endpoint = Some(endpoint(value)?),
                "region" => replica.region = Some(value.to_owned()),
                "credentials_file" => replica.credentials_file = Some(path("credentials_file", value)?),
                "ca_file" => replica.ca_file = Some(path("ca_file", value)?),
                other => return Err(NotReplicas::Unknown(other.to_owned())),
            }
        }
        if replica.keep < replica.snapshot_every {
            return Err(NotReplicas::Keep);
        }
        if matches!(replica.place, ReplicaPlace::Folder(_)) {
            let set = [
                ("endpoint", replica.endpoint.is_some()),
                ("region", replica.region.is_some()),
                ("credentials_file", replica.credentials_file.is_some()),
                ("ca_file", replica.ca_file.is_some()),
            ];
            if let Some((name, _)) = set.iter().find(|(_, set)| *set) {
                return Err(NotReplicas::ForBuckets(name));
            }
        }
        Ok(replica)
    }

    /// Whether such answers wait for it.
    pub fn holds(&self, what: Synchronous) -> bool {
        self.synchronous.contains(&what)
    }
}

fn between(
    text: &str,
    range: &std::ops::RangeInclusive<SignedDuration>,
    (name, least, most): (&'static str, &'static str, &'static str),
) -> Result<SignedDuration, NotReplicas> {
    let read = duration::parse(text).ok().filter(|read| range.contains(read));
    read.ok_or(NotReplicas::Duration(name, least, most))
}

fn endpoint(text: &str) -> Result<String, NotReplicas> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b))
    };
    match host.map(|host| host.trim_end_matches('/')).filter(|host| plain(host)) {
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => Err(NotReplicas::Endpoint),
    }
}

fn path(name: &'static str, text: &str) -> Result<PathBuf, NotReplicas> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(NotReplicas::Relative(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default_and_what_is_wrong_is_named() {
        let read = ReplicaSettings::read(
            "url=s3://backups/muster/eu,every=5s,fence=10m,synchronous=revocations+enrollments,endpoint=http://127.0.0.1:9000; \
             url=file:///mnt/nas",
        );
        let read = read.unwrap();
        let text = format!("{};{}", read[0], read[1]);
        assert_eq!(ReplicaSettings::read(&text).unwrap(), read);
        let [bucket, folder] = &read[..] else { panic!("there are two") };
        assert_eq!(bucket.place.to_string(), "s3://backups/muster/eu");
        assert_eq!(
            (bucket.every, folder.every),
            (SignedDuration::from_secs(5), SignedDuration::from_secs(1))
        );
        assert!(bucket.holds(Synchronous::Enrollments) && !folder.holds(Synchronous::Revocations));
        for (wrong, why) in [
            ("", "no 'url'"),
            ("every=1s", "no 'url'"),
            ("url=/mnt/nas", "neither"),
            ("url=file://mnt", "neither"),
            ("url=file:///", "neither"),
            ("url=s3://", "neither"),
            ("url=s3://b/../c", "neither"),
            ("url=file:///a,every=1ms", "50ms"),
            ("url=file:///a,often=1s", "'often'"),
            ("url=file:///a,synchronous=rotations", "synchronous"),
            ("url=file:///a,keep=1h", "shorter"),
            ("url=file:///a,endpoint=http://h", "s3:// alone"),
            ("url=s3://a,endpoint=ftp://h", "endpoint"),
            ("url=s3://a,credentials_file=keys", "begins with /"),
            ("url=file:///a;url=file:///a", "same"),
        ] {
            let error = ReplicaSettings::read(wrong).expect_err(wrong).to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
