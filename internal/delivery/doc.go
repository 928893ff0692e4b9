// Package delivery carries records to Kafka exactly once, and knows nothing of where they come from.
//
// # Parts
//
// A Source gives the records of one shard in batches, each with the position behind it (source.go). A lane is a pair of
// transactional ids that carries the batches and the positions of many shards in one transaction at a time (lane.go,
// transaction.go). A shard that a lane carries has a Seat in it (seat.go). An Engine seats the shards that its
// process owns (engine.go, shard.go), in few lanes: those that are well together, one that is in trouble alone, one
// that has a backlog in a lane for backlogs (placement.go). Who owns which shard is said by a consumer group of Kafka's
// (membership.go), who may be wrong.
//
// # Promise
//
// Every record is visible to read_committed consumers once, in the order of its shard, whatever is killed, paused or cut
// off, and whoever else believes to own the shard. It rests on claims and fences (takeover.go, fence.go, ledger.go), which
// docs/model checks and docs/design.md numbers.
//
// # What it trusts
//
// Kafka's transactions, fencing and acknowledgements. Not the group, not a clock, and no answer of a broker that could be
// older than the question.
//
// # How it fails
//
// Any error kills its lane. The clients are dropped, never repaired, and the shards are claimed anew in another lane. What
// failed for a shard's own sake sends that shard into a lane of its own, so that its neighbours go on. Every wait for a
// server has a bound and a name: a shard that has work and does not move says what it waits for.
package delivery
