package relay

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// binaryFormat is the CloudEvents 1.0 Kafka binding's binary content mode.
type binaryFormat struct{ source []byte }

func newBinaryFormat(source string) encoding { return binaryFormat{[]byte(source)} }

var ceVersion = []byte("1.0")

func (f binaryFormat) encode(_ context.Context, e *entry,
	headers []kgo.RecordHeader,
) ([]byte, []kgo.RecordHeader, error) {
	headers = append(headers,
		kgo.RecordHeader{Key: "ce_specversion", Value: ceVersion},
		kgo.RecordHeader{Key: "ce_id", Value: e.eventID},
		kgo.RecordHeader{Key: "ce_source", Value: f.source},
		kgo.RecordHeader{Key: "ce_type", Value: e.eventType},
		kgo.RecordHeader{Key: "ce_subject", Value: e.aggregateID},
		kgo.RecordHeader{Key: "ce_time", Value: []byte(eventTime(e))},
		kgo.RecordHeader{Key: "ce_aggregatetype", Value: e.aggregateType},
	)
	if len(e.contentType) > 0 {
		headers = append(headers, kgo.RecordHeader{Key: "content-type", Value: e.contentType})
	}
	return payloadOf(e), headers, nil
}

func eventTime(e *entry) string {
	const year9999 = 253402300799999 // what RFC 3339 can say
	return time.UnixMilli(min(e.timeMS, year9999)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
