package sizing

import "encoding/json"

// Fines are seconds one after the other, in two parts: the memory of the turn before shares the old part, so that a turn copies only the
// new one, less than partSeconds long. In JSON it is one list.
type Fines struct{ Old, New []Fine }

// partSeconds is the length of time after which the new seconds join the old ones.
const partSeconds = 32

// IsZero tells that there is none.
func (f Fines) IsZero() bool { return f.n() == 0 }

// MarshalJSON writes a list.
func (f Fines) MarshalJSON() ([]byte, error) {
	return json.Marshal(append(append(make([]Fine, 0, f.n()), f.Old...), f.New...))
}

// UnmarshalJSON reads a list.
func (f *Fines) UnmarshalJSON(text []byte) error {
	var all []Fine
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	*f = Fines{}
	for _, s := range all {
		f.add(s)
	}
	return nil
}

func (f *Fines) n() int { return len(f.Old) + len(f.New) }

// at is the second at a place; it is not to be changed.
func (f *Fines) at(i int) *Fine {
	if i < len(f.Old) {
		return &f.Old[i]
	}
	return &f.New[i-len(f.Old)]
}

// clone makes the new part another one's own, with room for the seconds of a turn.
func (f Fines) clone() Fines {
	if f.New != nil {
		f.New = append(make([]Fine, 0, len(f.New)+usualSeconds), f.New...)
	}
	return f
}

// usualSeconds is how many seconds a turn tells, mostly.
const usualSeconds = 6

// add appends a second. The parts meet where partSeconds divides the time, so that they are the same however the list came about.
func (f *Fines) add(s Fine) {
	if s.At%partSeconds == 0 && len(f.New) > 0 {
		f.Old = append(append(make([]Fine, 0, f.n()), f.Old...), f.New...)
		f.New = f.New[:0:0]
	}
	f.New = append(f.New, s)
}

// keep drops what is more than the newest n seconds.
func (f *Fines) keep(n int) {
	if more := f.n() - n; more > 0 {
		k := min(more, len(f.Old))
		f.Old, f.New = f.Old[k:], f.New[more-k:]
	}
}

// cut drops the seconds from place n on.
func (f *Fines) cut(n int) {
	if n < len(f.Old) {
		f.Old, f.New = f.Old[:n:n], nil
		return
	}
	f.New = f.New[:n-len(f.Old)]
}
