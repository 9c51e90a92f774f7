package decision

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/tidegate/tidegate/core"
)

// EncodePolicy writes a policy, defaults and all, as one line of JSON. Durations are seconds, under names with _s behind; days of
// the week are 0 (Sunday) to 6.
func EncodePolicy(p core.Policy) ([]byte, error) {
	var b bytes.Buffer
	if err := encode(&b, reflect.ValueOf(p)); err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

var durationType = reflect.TypeFor[time.Duration]()

func encode(b *bytes.Buffer, v reflect.Value) error {
	switch {
	case v.Type() == durationType:
		text, err := json.Marshal(time.Duration(v.Int()).Seconds())
		b.Write(text)
		return err
	case v.Kind() == reflect.Struct:
		return encodeStruct(b, v)
	case v.Kind() == reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := encode(b, v.Index(i)); err != nil {
				return err
			}
		}
		b.WriteByte(']')
		return nil
	}
	text, err := json.Marshal(v.Interface())
	b.Write(text)
	return err
}

func encodeStruct(b *bytes.Buffer, v reflect.Value) error {
	b.WriteByte('{')
	first := true
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if strings.Contains(options, "omitempty") && v.Field(i).IsZero() {
			continue
		}
		if f.Type == durationType {
			name += "_s"
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		fmt.Fprintf(b, "%q:", name)
		if err := encode(b, v.Field(i)); err != nil {
			return err
		}
	}
	b.WriteByte('}')
	return nil
}
