package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// structuredFormat is the CloudEvents 1.0 Kafka binding's structured content mode.
type structuredFormat struct{ source string }

func newStructuredFormat(source string) encoding { return structuredFormat{source} }

var ceStructuredType = []byte("application/cloudevents+json; charset=UTF-8")

func (f structuredFormat) encode(_ context.Context, e *entry,
	headers []kgo.RecordHeader,
) ([]byte, []kgo.RecordHeader, error) {
	value, err := f.event(e)
	return value, append(headers, kgo.RecordHeader{Key: "content-type", Value: ceStructuredType}), err
}

// event is the event in the CloudEvents JSON format 1.0. Payloads of a JSON content type, or of
// none, that are valid JSON become data; text becomes a string; everything else becomes
// data_base64.
func (f structuredFormat) event(e *entry) ([]byte, error) {
	event := struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		Subject         string          `json:"subject"`
		Time            string          `json:"time"`
		DataContentType string          `json:"datacontenttype,omitempty"`
		AggregateType   string          `json:"aggregatetype"`
		Data            json.RawMessage `json:"data,omitempty"`
		DataBase64      []byte          `json:"data_base64,omitempty"`
	}{
		SpecVersion: "1.0", ID: string(e.eventID), Source: f.source, Type: string(e.eventType),
		Subject: string(e.aggregateID),
		Time:    eventTime(e), DataContentType: string(e.contentType),
		AggregateType: string(e.aggregateType),
	}
	if len(e.payload) > 0 {
		media, _, _ := mime.ParseMediaType(string(e.contentType))
		switch {
		case !utf8.Valid(e.payload):
			event.DataBase64 = e.payload
		case (media == "" || media == "application/json" || strings.HasSuffix(media, "+json")) &&
			json.Valid(e.payload):
			event.Data = e.payload
		case strings.HasPrefix(media, "text/"):
			event.Data, _ = json.Marshal(string(e.payload)) // a string always marshals
		default:
			event.DataBase64 = e.payload
		}
	}
	var value bytes.Buffer
	encoder := json.NewEncoder(&value)
	encoder.SetEscapeHTML(false) // the payload is not ours to rewrite
	if err := encoder.Encode(event); err != nil {
		return nil, fmt.Errorf("entry %s as a CloudEvent: %w", e.id, err)
	}
	return bytes.TrimSuffix(value.Bytes(), []byte("\n")), nil
}
