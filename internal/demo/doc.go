// Package demo runs all of Sluice in one process: an in-memory Redis and Kafka, a small shop that
// writes orders through outbox, relays, a read_committed consumer that checks what arrives; and, if
// asked, somebody who kills and pauses the relays meanwhile.
//
// # Promise
//
// The verdict is the consumer's, from outside, and the audits': every event whose EXEC was
// confirmed is looked for in Kafka, and each is to be there once and in the order of its key.
// Nothing is counted that was not seen.
//
// The shop, the relays and the consumer are what a user runs, with shorter times. The servers are
// stand-ins (miniredis, kfake): they show how Sluice behaves, they prove nothing about Redis or
// Kafka. fakekafka.go says which of their answers are corrected, so that fencing and groups are
// what they are on a real broker.
//
// # Parts
//
//	world.go      the servers, and the outbox laid out on them
//	fakekafka.go  the stand-in for Kafka
//	shop.go       orders that go from state to state, each with its event
//	fakeredis.go  what the stand-in for Redis lacks
//	fleet.go      the relays
//	gate.go       the network of one relay, which can be frozen and cut
//	deadline.go   deadlines of connections, which go on while the network is frozen
//	chaos.go      who is killed and paused, and when
//	consumer.go   reads what has become visible
//	ledger.go     compares it with what was written
//	audits.go     audits what both servers hold, again and again
//	plant.go      a fault on purpose, and whether the audit finds it
//	screen.go     shows it
package demo
