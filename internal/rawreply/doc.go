// Package rawreply gets a reply of Redis as the bytes that it is, through go-redis, at a small part
// of what go-redis takes for it.
//
// go-redis copies a raw reply piece by piece: a Write for each header and an io.CopyN for each bulk
// string. That costs a microsecond an entry, more than everything else that is done with one. But
// io.CopyN shows the buffer of the connection, inside an io.LimitedReader. From the first bulk
// string on, the rest of the reply is read from that buffer, up to its end and not a byte further.
// The copying then ends with an error after which go-redis keeps the connection. Timeouts, errors
// and the pool stay go-redis's affair. A version of it that copies in another way is served piece
// by piece, or fails with an error that says so.
//
// What a reply means is not decided here: relay and consistency decode it each on its own.
package rawreply
