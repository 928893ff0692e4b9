// Package integration is what tests against real servers share.
//
// [Servers] gives the Redis and the Kafka that all tests of a process use; package servers says
// where they come from. [Prefix] keeps the tests apart. Built with the tag integration, which the
// suites have, this package also gives package servers a Docker engine.
//
// [CallFaults] counts requests and loses the N-th one, or its reply. [BuildSluice] builds the
// command that a test then runs as a process.
//
// [Ledger] compares what was written with what a read_committed reader ([ReadCommitted]) gets.
package integration
