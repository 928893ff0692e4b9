// Package bench measures what carrying entries from Redis to Kafka costs, side by side in one run:
// a hand-written at-least-once loop, both deliveries of the relay, and what Redis and Kafka do
// alone.
//
// # Promise
//
// Every driver gets the same entries, the same servers, the same topic layout and the same client
// options, and runs in a process of its own, so that its CPU time is its own. Drivers take turns,
// round after round, and a figure is the median of the rounds: what slows the machine down for a
// while slows them all.
//
// What is measured is seen from outside: a read_committed consumer in the measuring process decides
// when an entry has arrived, and checks that each arrived once and in the order of its key.
//
// # Sections
//
//	throughput   a backlog of entries: entries/s from the first to the last that becomes visible,
//	             CPU, AOF
//	latency      events at a steady rate over one or many shards: from the EXEC that commits one
//	             to its being visible, what driver and brokers spend meanwhile, and how many
//	             transactions it takes; at low rates also Kafka alone, with and without a
//	             transaction, as the least that any driver needs
//	writer       outbox.Writer against the bare MULTI, SET, XADD, EXEC
//
// RunAudit measures audits. RunNeighbours measures what shards in trouble do to the others of one
// relay: the latency of those that are well, before and while the last three have records that the
// broker refuses, a partition without a leader and a backlog.
//
// # What it trusts
//
// The clock of this machine, on which the writer and the consumer both run. INFO of Redis for its
// CPU time and the size of its append-only file; other users of the same Redis are counted in. What
// the system says of the CPU time of brokers that the run has started; that of others is unknown. A
// relay's own count of its transactions.
//
// # How it fails
//
// A figure that misses its target is reported and is not a failure. A driver that ends by itself,
// or that does not carry everything within the time limit, ends the run with an error.
package bench
