// Package delivery carries records to Kafka exactly once, and knows nothing of where they come
// from.
//
// # Parts
//
// A Source gives the records of one shard in batches, each with the position after it (source.go).
// A lane is a pair of transactional ids that carries the batches and the positions of many shards
// in one transaction at a time (lane.go, transaction.go). A shard that a lane carries has a Seat in
// it (seat.go). An Engine seats the shards that its process owns (engine.go, shard.go), in few
// lanes (placement.go): shards that are well share one, a shard in trouble has its own, shards with
// a backlog are in a lane for backlogs. A consumer group of Kafka says who owns which shard
// (membership.go), and may be wrong.
//
// # Promise
//
// Every record is visible to read_committed consumers once, in the order of its shard, whatever is
// killed, paused or cut off, and whoever else believes to own the shard. It rests on claims and
// fences (takeover.go, fence.go, ledger.go), which docs/model checks and docs/design.md numbers.
//
// # What it trusts
//
// It trusts Kafka's transactions, fencing and acknowledgements. It does not trust the group, a
// clock, or an answer of a broker that could be older than the question.
//
// # How it fails
//
// Any error kills its lane. The clients are dropped, never repaired, and the shards are claimed
// anew in another lane. If it failed because of one shard, that shard gets a lane of its own, so
// that its neighbours go on. Every wait for a server has a bound and a name: a shard that has work
// and does not move says what it waits for.
package delivery
