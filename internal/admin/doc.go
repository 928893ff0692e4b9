// Package admin looks at an outbox from outside and acts on it, for the command line: the state of
// each shard, pausing, and setting positions. It works whether relays run or not.
//
// Facts come from where they are kept: the layout, the streams and the consumer groups from Redis,
// positions from Kafka's positions topic. What relays say of themselves, in the status hash, is
// shown as such and decides nothing. What cannot be found out is nil or in Problems, never a zero.
package admin
