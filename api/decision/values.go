package decision

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Whole is a whole number; 3.0 is one too, because many programs write whole numbers so. check has made sure that it is one.
type Whole float64

// mostWhole keeps sums of numbers that cannot be from turning round.
const mostWhole = 1e15

func checkWhole(b []byte) error {
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil || v != math.Trunc(v) || math.Abs(v) > mostWhole {
		return fmt.Errorf("%.40s is not allowed: a whole number from -1e15 to 1e15", b)
	}
	return nil
}

// Time is a moment, read from RFC 3339 or from seconds since 1970, with microseconds.
type Time struct{ time.Time }

// latest is the end of the year 9999, the last that RFC 3339 can say.
const latest = 253402300799

// UnmarshalJSON takes both forms; the year is 1970 to 9999.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || v.Unix() < 0 || v.Unix() > latest {
			return fmt.Errorf("%.60q is not allowed: a time such as 2026-01-02T03:04:05Z, or seconds since 1970", s)
		}
		t.Time = v.UTC()
		return nil
	}
	v, err := strconv.ParseFloat(string(b), 64)
	if err != nil || v < 0 || v > latest {
		return fmt.Errorf("%s is not allowed: seconds since 1970 (0 to %d), or a time such as \"2026-01-02T03:04:05Z\"", b, int64(latest))
	}
	sec, frac := math.Modf(v)
	t.Time = time.Unix(int64(sec), int64(math.Round(frac*1e6))*1000).UTC()
	return nil
}

func duration(s float64) time.Duration {
	const most = float64(math.MaxInt64) / 1e9
	if s >= most {
		return math.MaxInt64
	}
	if s <= -most {
		return math.MinInt64
	}
	return time.Duration(math.Round(s * 1e9))
}
