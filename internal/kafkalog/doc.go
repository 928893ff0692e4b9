// Package kafkalog reads partitions of Kafka with explicit requests, so that what it returns is not
// older than its question.
//
// A leader that was deposed and has not heard of it answers metadata, offsets and fetches as if
// nothing had happened: it lacks what its successor has committed since. There are two remedies.
// Leaders asks so many brokers that one of them knows of every leader that has acknowledged a
// record, if min.insync.replicas is a majority. A caller that has written into a partition itself
// reads until it sees what it has written.
//
// A consumer cannot say that it has reached the end of a partition if that end is markers of
// transactions. Scan can: it stops where the leader's own answer says that nothing follows.
package kafkalog
