package relay

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

type rawFormat struct{}

func newRawFormat(string) encoding { return rawFormat{} }

func (rawFormat) encode(_ context.Context, e *entry,
	headers []kgo.RecordHeader,
) ([]byte, []kgo.RecordHeader, error) {
	headers = append(headers, kgo.RecordHeader{Key: "id", Value: e.eventID},
		kgo.RecordHeader{Key: "type", Value: e.eventType})
	if len(e.contentType) > 0 {
		headers = append(headers, kgo.RecordHeader{Key: "content-type", Value: e.contentType})
	}
	return payloadOf(e), headers, nil
}

// payloadOf is the payload as a value: nil would be a tombstone.
func payloadOf(e *entry) []byte {
	if e.payload == nil {
		return []byte{}
	}
	return e.payload
}
