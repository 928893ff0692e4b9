package delivery

// pace is how much a transaction may hold so that it ends in time. It halves after a transaction
// that did not, and doubles after one that did, up to the configured bounds. So it adapts to a
// quota or a slow broker in a few steps, and recovers as quickly.
type pace struct {
	most    int // bytes
	limit   int // 0 < limit <= most
	entries int // the configured bound
}

// leastPace is what a transaction may always hold, in bytes: one record.
const leastPace = 1 << 10

func newPace(bytes, entries int) *pace { return &pace{most: bytes, limit: bytes, entries: entries} }

// failed is called after a transaction that did not end in time, with how many of its bytes Kafka
// had acknowledged.
func (p *pace) failed(sent, acknowledged int) {
	p.limit = max(leastPace, min(p.limit/2, sent/2, max(acknowledged, sent/8)))
}

// succeeded is called after one that did, and with whether it took less than it might.
func (p *pace) succeeded(bytes int, quick bool) {
	if quick && bytes >= p.limit/2 {
		p.limit = min(p.most, 2*p.limit)
	}
}

func (p *pace) full(entries, bytes int) bool {
	return entries >= p.maxEntries() || bytes >= p.limit
}

// maxEntries shrinks with the bytes: small entries cost by their number.
func (p *pace) maxEntries() int {
	if p.limit >= p.most {
		return p.entries
	}
	return max(1, int(float64(p.entries)*float64(p.limit)/float64(p.most)))
}
