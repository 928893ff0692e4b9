// Package kafkalog reads partitions of Kafka with explicit requests, so that what it returns is not older than its
// question.
//
// A leader that was deposed and has not heard of it answers metadata, offsets and fetches as if nothing had
// happened: it lacks what its successor has committed since. Two things tell it apart. Leaders asks so many brokers
// that one of them knows of every leader that has acknowledged a record with min.insync.replicas of a majority. And
// a caller that has written into a partition itself reads until it sees what it has written.
//
// A consumer does not say that it has come to the end of a partition whose end is markers of transactions. Scan
// does: it stops where the leader's own answer says that nothing is behind.
package kafkalog
