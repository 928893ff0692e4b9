package outbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// vectors is testdata/vectors.json, which docs/wire-format.md describes.
type vectors struct {
	Format  int
	Entries []struct {
		Name   string
		Event  vectorEvent
		More   int
		Fields []vectorText
	}
	Keys []struct {
		Key     string
		Murmur2 int32
		Of      map[string]int
	}
	Records []vectorRecord
}

type vectorEvent struct {
	ID, AggregateType, AggregateID, Type string
	Payload                              vectorText
	Headers                              map[string]string
	Topic, Key, ContentType              string
	Time                                 int64
}

type vectorRecord struct {
	Name        string
	Outbox      string
	Shard       int
	Entry       string
	Fields      []vectorText
	Undecodable string
	Record      struct {
		Topic     string
		Key       string
		Value     vectorText
		Timestamp int64
		Headers   [][2]string
	}
}

// vectorText is text, or {"base64": "…"} for what JSON cannot hold.
type vectorText []byte

func (v *vectorText) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*v = []byte(text)
		return nil
	}
	var encoded struct{ Base64 string }
	if err := json.Unmarshal(b, &encoded); err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(encoded.Base64)
	*v = raw
	return err
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var v vectors
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if v.Format != FormatVersion || len(v.Entries) == 0 || len(v.Keys) == 0 || len(v.Records) == 0 {
		t.Fatal("vectors.json is not complete")
	}
	return v
}

func TestVectorsOfEntries(t *testing.T) {
	for _, c := range readVectors(t).Entries {
		e := Event{
			ID: c.Event.ID, AggregateType: c.Event.AggregateType, AggregateID: c.Event.AggregateID,
			Type:    c.Event.Type,
			Payload: c.Event.Payload, Headers: c.Event.Headers,
			Topic: c.Event.Topic, Key: c.Event.Key, ContentType: c.Event.ContentType,
		}
		if c.Event.Time != 0 {
			e.Time = time.UnixMilli(c.Event.Time)
		}
		if _, err := defaults.check(0, &e); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		var got, want []string
		for _, f := range EntryFields(e, c.More) {
			got = append(got, fmt.Sprintf("%s", f))
		}
		for _, f := range c.Fields {
			want = append(want, string(f))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", c.Name, got, want)
		}
	}
}

func TestVectorsOfKeys(t *testing.T) {
	for _, c := range readVectors(t).Keys {
		if got := int32(murmur2(c.Key)); got != c.Murmur2 {
			t.Errorf("murmur2(%q) = %d, want %d", c.Key, got, c.Murmur2)
		}
		for n, want := range c.Of {
			n, err := strconv.Atoi(n)
			if err != nil {
				t.Fatal(err)
			}
			if s, p := Shard(c.Key, n), Partition([]byte(c.Key), n); s != want || p != want {
				t.Errorf("%q of %d: shard %d, partition %d, want %d", c.Key, n, s, p, want)
			}
		}
	}
}

// TestVectorsOfRecords checks the file itself, with the plainest reader of the format that can be
// written.
func TestVectorsOfRecords(t *testing.T) {
	for _, c := range readVectors(t).Records {
		got, err := plainRecord(c)
		if c.Undecodable != "" {
			if err == nil {
				t.Errorf("%s: decodes, want %s", c.Name, c.Undecodable)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if got.Record.Topic != c.Record.Topic || got.Record.Key != c.Record.Key ||
			!bytes.Equal(got.Record.Value, c.Record.Value) ||
			got.Record.Timestamp != c.Record.Timestamp ||
			!reflect.DeepEqual(got.Record.Headers, c.Record.Headers) {
			t.Errorf("%s:\n got %+v\nwant %+v", c.Name, got.Record, c.Record)
		}
	}
}

func plainRecord(c vectorRecord) (out vectorRecord, err error) {
	fields := map[string]string{}
	for i := 0; i < len(c.Fields); i += 2 {
		name := string(c.Fields[i])
		if _, twice := fields[name]; twice {
			return out, fmt.Errorf("%s twice", name)
		}
		fields[name] = string(c.Fields[i+1])
	}
	allowed := []string{
		"id", "aggregatetype", "aggregateid", "type", "payload", "headers", "topic",
		"key", "contenttype", "time", "more", "v",
	}
	for i, name := range allowed {
		value, there := fields[name]
		if i < 6 && !there || i < 4 && value == "" {
			return out, fmt.Errorf("%s is missing or empty", name)
		}
	}
	for name := range fields {
		if !slices.Contains(allowed, name) {
			return out, fmt.Errorf("unknown %s", name)
		}
	}
	if v, there := fields["v"]; there && v != "1" {
		return out, fmt.Errorf("version %s", v)
	}
	if more, there := fields["more"]; there {
		if _, err := strconv.ParseUint(more, 10, 31); err != nil {
			return out, err
		}
	}
	time, _, _ := bytes.Cut([]byte(c.Entry), []byte("-"))
	if given, there := fields["time"]; there {
		time = []byte(given)
	}
	ms, err := strconv.ParseUint(string(time), 10, 63)
	if err != nil {
		return out, err
	}
	r := &out.Record
	r.Topic, r.Key, r.Value, r.Timestamp = fields["topic"], fields["key"],
		vectorText(fields["payload"]), int64(ms)
	if r.Key == "" {
		r.Key = fields["aggregateid"]
	}
	r.Headers = [][2]string{{"id", fields["id"]}, {"type", fields["type"]}}
	if fields["contenttype"] != "" {
		r.Headers = append(r.Headers, [2]string{"content-type", fields["contenttype"]})
	}
	own, err := plainHeaders(fields["headers"])
	if err != nil {
		return out, err
	}
	r.Headers = append(append(r.Headers, own...),
		[2]string{"sluice-entry", fmt.Sprintf("%s/%d/%s", c.Outbox, c.Shard, c.Entry)})
	return out, nil
}

func plainHeaders(object string) (headers [][2]string, err error) {
	if object == "" {
		return nil, nil
	}
	asMap := map[string]string{}
	if err := json.Unmarshal([]byte(object), &asMap); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader([]byte(object)))
	if _, err := d.Token(); err != nil { // {
		return nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		value, err := d.Token()
		if err != nil {
			return nil, err
		}
		if ReservedHeader(name.(string)) {
			return nil, fmt.Errorf("%s is reserved", name)
		}
		headers = append(headers, [2]string{name.(string), value.(string)})
	}
	if len(headers) != len(asMap) {
		return nil, errors.New("a header twice")
	}
	return headers, nil
}
