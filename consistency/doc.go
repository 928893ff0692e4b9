// Package consistency proves that the entries of an outbox in Redis and its records in Kafka agree,
// or says with evidence where they do not.
//
// # What an audit does
//
// An [Auditor] compares every entry from where the last audit ended up to a watermark: the entry
// that was the last one of its stream Config.Settle ago. The ends of the partitions are sampled
// after that time, so that whatever was delivered in time is before them; no clock of any machine
// decides. The package shares no code and no decision with the relay. It reads the wire format, the
// route and the record formats by itself, so that a mistake of the relay is found and not repeated.
//
// # How a round goes
//
// A run samples the streams (begin.go), waits, samples the ends of the partitions (watermark.go),
// and then goes in rounds (run.go), so that memory is bounded by the size of a round. A round has
// these steps; the first three are in collect.go, one after the other:
//
//   - Collect. The next entries of each shard are read from Redis (collect_entries.go), the records
//     of each partition from Kafka up to where all of those entries should have been seen
//     (collect_records.go).
//   - Digest. Entries are counted in tiles, a few thousand in each. Both sides of a tile have a
//     number and a [Digest] of what should be, and what is, in Kafka: topic, partition, key, value,
//     headers, entry ID. Most tiles agree, and nobody looks at them again (tile.go, digest.go).
//   - Collect what the tiles that do not agree need: up to where the shard has been delivered at
//     all (collect_reached.go), two looks at each entry with Config.Settle between them
//     (collect_looks.go), records that came late (collect_late.go), and the order of records that
//     came after a later one (collect_order.go).
//   - Compare. The function compare takes what the run knew before the round and what was
//     collected, and returns findings, tiles, and what the run knows now. The files compare*.go
//     are functions of their arguments: they read nothing, wait for nothing and know no time.
//   - Report. The findings go into the [Report], tiles and state into Kafka.
//
// A round that fails returns an error and leaves no trace; the next run compares it again.
//
// An entry's way: collect_entries.go reads it; expect.go decodes it and makes the record that it
// should have (with entry.go, route.go, format.go); image.go hashes that; tile.go counts it. Its
// record's way: collect_records.go reads it; the same image.go hashes it; the same tile counts it.
// If the tile agrees that is all. Otherwise compare_entries.go has the rules for one entry and its
// records, and compare_mismatch.go says what the two looks at it mean.
//
// # States
//
// A shard's point moves forward over what was compared. Points and the marks of all partitions are
// one record in the compacted topic sluice.<outbox>.audits, which a rollback of Redis cannot take
// back. A run that is killed anywhere goes on at the last finished round. Several auditors at once
// compare things twice, at worst.
//
// # What it trusts
//
// Redis's reply about a stream at one moment is consistent; entries-added counts additions; Kafka's
// last stable offset covers committed transactions. Of the relay only one claim is used, and only
// against it: an entry at or below a shard's committed position that has no record is lost, one
// above it, and above every record of its shard, has not been delivered yet. Config.Outside does
// without.
//
// # How it fails
//
// What could not be checked is in Report.Incomplete or a finding of kind [Unverifiable], and the
// verdict is then never [Agree].
package consistency
