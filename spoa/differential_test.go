package spoa

import (
	"fmt"
	"net"
	"testing"

	negasus "github.com/negasus/haproxy-spoe-go/message"
	"github.com/negasus/haproxy-spoe-go/typeddata"
)

// theirs decodes a NOTIFY payload with negasus' own decoder; ok is false when it refuses or fails. It panics on much of
// what is malformed.
func theirs(b []byte) (m negasus.Messages, ok bool) {
	defer func() {
		if recover() != nil {
			m, ok = nil, false
		}
	}()
	err := m.Decode(b)
	return m, err == nil
}

// field is an argument as both decoders can tell it.
type field struct{ message, name, value string }

// ours walks a payload with the functions the hot path is made of.
func ours(b []byte) (fields []field, names []string, ok bool) {
	for len(b) > 0 {
		name, rest, ok := readString(b)
		if !ok || len(rest) == 0 {
			return nil, nil, false
		}
		names = append(names, string(name))
		n := int(rest[0])
		b = rest[1:]
		for range n {
			var key []byte
			var v value
			if key, b, ok = readString(b); !ok {
				return nil, nil, false
			}
			if v, b, ok = readValue(b); !ok {
				return nil, nil, false
			}
			fields = append(fields, field{string(name), string(key), v.text()})
		}
	}
	return fields, names, true
}

func (v value) text() string {
	switch v.kind {
	case typeddata.TypeNull:
		return "null"
	case typeddata.TypeBoolean:
		return fmt.Sprint(v.num == 1)
	case typeddata.TypeInt32:
		return fmt.Sprint(int32(v.num))
	case typeddata.TypeUInt32:
		return fmt.Sprint(uint32(v.num))
	case typeddata.TypeInt64:
		return fmt.Sprint(v.num)
	case typeddata.TypeUInt64:
		return fmt.Sprint(uint64(v.num))
	case typeddata.TypeIPv4, typeddata.TypeIPv6:
		return net.IP(v.str).String()
	}
	return string(v.str)
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}

// What negasus' decoder takes, ours must take, and read the same in it. Known exceptions, in which negasus is wrong:
//   - a varint that is never closed: negasus' reader returns -1 and goes on from one byte before;
//   - a length above 2^63: negasus compares it as a negative number;
//   - a varint of more than ten bytes: it cannot hold 64 bits, ours refuses it.
//
// All three need a varint of ten bytes or more or one cut off at the end, hence the test for them.
func FuzzAgainstNegasus(f *testing.F) {
	done, beat := message(messageDone, doneArgs()...), message(messageHeartbeat+"-1", heartbeatArgs()...)
	f.Add(done)
	f.Add(append(append([]byte(nil), done...), beat...))
	f.Add(message("x", arg{"null", nil}, arg{"true", true}, arg{"i32", []byte{typeddata.TypeInt32, 5}}, arg{"v4", []byte{typeddata.TypeIPv4, 127, 0, 0, 1}},
		arg{"v6", append([]byte{typeddata.TypeIPv6}, make([]byte, 16)...)}, arg{"bin", []byte{typeddata.TypeBinary, 2, 0, 255}}, arg{"big", -1}))
	f.Add(done[:len(done)-1])
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		m, ok := theirs(in)
		if !ok {
			return
		}
		fields, names, ok := ours(in)
		if !ok {
			if oddVarint(in) {
				return
			}
			t.Fatalf("negasus takes %x, we refuse it", in)
		}
		var want []field
		for i, msg := range m {
			if i >= len(names) || names[i] != msg.Name {
				t.Fatalf("message %d is %q, names %q", i, msg.Name, names)
			}
			for _, item := range msg.KV.Data() {
				want = append(want, field{msg.Name, item.Name, text(item.Value)})
			}
		}
		if len(want) != len(fields) || len(m) != len(names) {
			if oddVarint(in) {
				return
			}
			t.Fatalf("%d messages of %d fields, negasus has %d of %d", len(names), len(fields), len(m), len(want))
		}
		for i := range want {
			if want[i] != fields[i] && !oddVarint(in) {
				t.Fatalf("field %d is %q, negasus has %q", i, fields[i], want[i])
			}
		}
	})
}

// oddVarint tells whether in may hold one of the exceptions: a first byte of at least 240 with seven more that go on, or
// one that goes on to the end.
func oddVarint(in []byte) bool {
	for i, b := range in {
		if b < 240 {
			continue
		}
		n := 1
		for i+n < len(in) && in[i+n] >= 128 {
			n++
		}
		if n >= 8 || i+n == len(in) {
			return true
		}
	}
	return false
}
