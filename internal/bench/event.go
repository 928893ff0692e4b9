package bench

import (
	"fmt"
	"math/rand/v2"
	"strconv"

	"github.com/sluice-outbox/sluice/outbox"
)

const (
	// keys is over how many keys the events spread.
	keys = 1 << 10
	// maxEntries is what the nine digits of a number in the payload can count.
	maxEntries = 999_999_999

	payloadHead = `{"n":`
	minPayload  = len(payloadHead) + 9 + len(`,"":""}`) + 11
)

// events makes the events of a run. The same number gives the same event, whoever asks.
type events struct {
	payload int
	noise   []byte
}

// newEvents returns events with payloads of the given size. Half of a payload is noise, so that
// compression finds about as much to do as in the usual JSON.
func newEvents(payload int) *events {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	rng := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, payload+64<<10)
	for i := range noise {
		noise[i] = letters[rng.IntN(len(letters))]
	}
	return &events{payload: payload, noise: noise}
}

func (e *events) key(n int) string { return fmt.Sprintf("order-%04d", n%keys) }

// event is event number n. Its payload begins with the number.
func (e *events) event(n int) outbox.Event {
	p := make([]byte, 0, e.payload)
	p = append(p, payloadHead...)
	p = appendNine(p, n)
	p = append(p, `,"`...)
	half := (e.payload - len(p) - 5) / 2
	at := n * 127 % (64 << 10)
	p = append(p, e.noise[at:at+half]...)
	p = append(p, `":"`...)
	for i := 0; len(p) < e.payload-2; i++ {
		p = append(p, "placed by a customer, to be shipped "[i%36])
	}
	p = append(p, `"}`...)
	return outbox.Event{
		// The form of a UUID, without the cost of making one that the writers of real events have spent
		// before.
		ID:            fmt.Sprintf("01890000-0000-7000-8000-%012d", n),
		AggregateType: "order", AggregateID: e.key(n), Type: "OrderPlaced", Payload: p,
	}
}

func appendNine(p []byte, n int) []byte {
	var digits [9]byte
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return append(p, digits[:]...)
}

// number is the inverse: the number of the event with this payload, -1 if it is none of ours.
func number(payload []byte) int {
	if len(payload) < len(payloadHead)+9 || string(payload[:len(payloadHead)]) != payloadHead {
		return -1
	}
	n, err := strconv.Atoi(string(payload[len(payloadHead) : len(payloadHead)+9]))
	if err != nil {
		return -1
	}
	return n
}
