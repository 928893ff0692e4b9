package inbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
)

// isStructured reports whether a content type is that of one CloudEvent in the JSON format.
func isStructured(contentType string) bool {
	if len(contentType) < len("application/cloudevents+json") ||
		!strings.EqualFold(contentType[:len("application/cloudevents")], "application/cloudevents") {
		return false
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/cloudevents+json"
}

// unfoldStructured takes the attributes and the data out of a CloudEvent in the JSON format 1.0.
func (r *Record) unfoldStructured() error {
	var event struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		Subject         string          `json:"subject"`
		Time            string          `json:"time"`
		DataContentType string          `json:"datacontenttype"`
		AggregateType   string          `json:"aggregatetype"`
		Data            json.RawMessage `json:"data"`
		DataBase64      *[]byte         `json:"data_base64"`
	}
	if err := json.Unmarshal(r.Value, &event); err != nil {
		return fmt.Errorf("not a CloudEvent, though its content type says so: %w", err)
	}
	switch {
	case !strings.HasPrefix(event.SpecVersion, "1."):
		return fmt.Errorf("a CloudEvent of specversion %q, want 1.0", event.SpecVersion)
	case event.ID == "" || event.Source == "" || event.Type == "":
		return errors.New("a CloudEvent without id, source or type")
	case event.Data != nil && event.DataBase64 != nil:
		return errors.New("a CloudEvent with both data and data_base64")
	}
	r.ID, r.Type, r.Source, r.AggregateID = event.ID, event.Type, event.Source, event.Subject
	r.AggregateType, r.ContentType = event.AggregateType, event.DataContentType
	if at, err := time.Parse(time.RFC3339Nano, event.Time); err == nil {
		r.Time = at
	}
	switch {
	case event.DataBase64 != nil:
		r.Value = *event.DataBase64
	case event.Data == nil:
		r.Value = nil
	default:
		r.Value = event.Data
		var text string
		if !isJSON(event.DataContentType) && json.Unmarshal(event.Data, &text) == nil {
			r.Value = []byte(text)
		}
	}
	return nil
}

// isJSON reports whether data of a content type stands in a CloudEvent as the JSON value that it
// is. No type is JSON.
func isJSON(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return contentType == "" || media == "application/json" || strings.HasSuffix(media, "+json")
}
