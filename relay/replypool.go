package relay

import "sync"

var replyPool sync.Pool // of *[]byte

// spareReply returns the buffer of an earlier reply, nil if there is none.
func spareReply() []byte {
	if b, ok := replyPool.Get().(*[]byte); ok {
		return *b
	}
	return nil
}

// recycleReply lets a later reply have the memory of this one, which nothing may point into any
// more.
func recycleReply(b []byte) {
	if b != nil && cap(b) <= readLimit {
		b = b[:0]
		replyPool.Put(&b)
	}
}
