package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestOrdersOverHTTP(t *testing.T) {
	b := &fake{}
	srv := httptest.NewServer(Handler(b, false))
	defer srv.Close()
	c := NewClient(srv.URL)
	defer c.Close()
	o, err := c.Order(t.Context(), OrderRequest{Kind: "reserve", App: "shop", Rate: 120, For: "30m", Owner: "push"})
	if err != nil || o.ID != "reserve-1" || o.Rate != 120 || o.App != "shop" {
		t.Fatalf("%+v %v", o, err)
	}
	if list, err := c.Orders(t.Context()); err != nil || len(list) != 1 || list[0].Owner != "push" {
		t.Errorf("%+v %v", list, err)
	}
	if list, err := c.Release(t.Context(), "reserve-1"); err != nil || len(list) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := c.Release(t.Context(), "shop/../x?"); err == nil || err.Error() != "tidegate refuses: there is no shop/../x?" {
		t.Errorf("a name with special characters: %v", err)
	}
	b.orderErr = Refused{ErrNotSaved, "the order cannot be saved"}
	if _, err := c.Order(t.Context(), OrderRequest{}); err == nil || !strings.Contains(err.Error(), "cannot be saved") {
		t.Errorf("%v", err)
	}
}

func TestOrdersRefuseWhatIsNotUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		err    error
		header string
		code   int
	}{
		"unknown field":       {`{"kind":"hold","app":"a","bad":1}`, nil, "", 400},
		"two objects":         {`{"kind":"hold"}{"kind":"hold"}`, nil, "", 400},
		"no JSON":             {`kind=hold`, nil, "", 400},
		"wrong type":          {`{"workers":"many"}`, nil, "", 400},
		"too long":            {`{"note":"` + strings.Repeat("x", maxRequest) + `"}`, nil, "", 400},
		"bad input":           {`{}`, errors.New("workers: 0 is not allowed"), "", 400},
		"no such app":         {`{}`, Refused{ErrNotFound, "no app"}, "", 404},
		"not saved":           {`{}`, Refused{ErrNotSaved, "full"}, "", 503},
		"from another site":   {`{"kind":"hold","app":"*"}`, nil, "cross-site", 403},
		"from nobody's page":  {`{"kind":"hold","app":"*"}`, nil, "", 200},
		"from our own origin": {`{"kind":"hold","app":"*"}`, nil, "same-origin", 200},
	} {
		t.Run(name, func(t *testing.T) {
			b := &fake{orderErr: c.err}
			r := httptest.NewRequest(http.MethodPost, "/v1/orders", strings.NewReader(c.body))
			if c.header != "" {
				r.Header.Set("Sec-Fetch-Site", c.header)
			}
			w := httptest.NewRecorder()
			Handler(b, false).ServeHTTP(w, r)
			if w.Code != c.code || (len(b.orders) > 0) != (c.code == 200) {
				t.Errorf("%d %s with %d orders, want %d", w.Code, w.Body, len(b.orders), c.code)
			}
		})
	}
}
