// Package consistency proves that the entries of an outbox in Redis and its records in Kafka agree, or says with evidence where they
// do not.
//
// # What an audit does
//
// An [Auditor] compares every entry from where the last audit ended up to a watermark: the entry that was the last one of its stream
// Config.Settle ago. The ends of the partitions are sampled after that time, so that whatever was delivered in time stands before
// them; no clock of any machine decides. It shares no code and no decision with the relay: it reads the wire
// format, the route and the record formats by itself, so that a mistake of the relay is found and not repeated.
//
// Entries are compared in tiles. Both sides of a tile are summed up in a [Digest] of what should be, and what is, in Kafka: topic,
// partition, key, value, headers, entry ID. Tiles whose digests differ are compared entry by entry, and what that shows is looked at a second
// time after Config.Settle; what still stands becomes a [Finding]. The order of records is checked record by record.
//
// # States
//
// A shard's point moves forward over what was compared. Points and the marks of all partitions are one record in the compacted topic
// sluice.<outbox>.audits, which a rollback of Redis cannot take back. A run that is killed anywhere goes on at the last
// finished round of tiles. Several auditors at once compare things twice, at worst.
//
// # What it trusts
//
// Redis's reply about a stream at one moment is consistent; entries-added counts additions; Kafka's last stable offset covers committed transactions.
// Of the relay only one claim is used, and only against it: an entry at or below a shard's committed position that has no
// record is lost, one above it, and above every record of its shard, has not been delivered yet. Config.Outside does without.
//
// # How it fails
//
// What could not be checked is in Report.Incomplete or a finding of kind [Unverifiable], and the verdict is then never [Agree].
package consistency
