package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// AllApps is the app of an order that is for every app.
const AllApps = "*"

// Order is a hold (nothing changes), a pin (a fixed number of workers) or a reserve (announced load), and what became of it.
type Order struct {
	ID string `json:"id"`
	// App is the app's name, or AllApps.
	App   string `json:"app"`
	Kind  string `json:"kind"`
	Owner string `json:"owner,omitempty"`
	Note  string `json:"note,omitempty"`
	// From is when it begins, Until when it ends; without Until it stays until it is released.
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"`
	// Workers is the number of a pin or a reservation; Rate the size of a reservation in requests per second.
	Workers int       `json:"workers,omitempty"`
	Rate    float64   `json:"rate,omitempty"`
	Created time.Time `json:"created"`
	// State is as of the last turn: waiting (its time has not come, or no turn has seen it), active, refused, released (the
	// announced load came and went) or expired. Why says it for a person. Asks is the number of workers that it asks for.
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
	Asks  int    `json:"asks_workers,omitempty"`
}

// OrderRequest is the body of POST /v1/orders. Of Until and For (a duration such as "90m", from From on) at most one is given.
type OrderRequest struct {
	Kind    string    `json:"kind"`
	App     string    `json:"app"`
	Owner   string    `json:"owner,omitempty"`
	Note    string    `json:"note,omitempty"`
	From    time.Time `json:"from,omitzero"`
	Until   time.Time `json:"until,omitzero"`
	For     string    `json:"for,omitempty"`
	Workers int       `json:"workers,omitempty"`
	Rate    float64   `json:"rate,omitempty"`
}

// Orders is the answer to GET /v1/orders and to DELETE /v1/orders/{what}, which lists what was released.
type Orders struct {
	Orders []Order `json:"orders"`
}

// ErrNotFound is an order or app that does not exist; ErrNotSaved one that could not be stored and so is not in force.
var (
	ErrNotFound = errors.New("not found")
	ErrNotSaved = errors.New("not saved")
)

// Refused is an error that says in one sentence for a person why an order was refused; Kind is ErrNotFound or ErrNotSaved.
type Refused struct {
	Kind     error
	Sentence string
}

func (r Refused) Error() string { return r.Sentence }
func (r Refused) Unwrap() error { return r.Kind }

// maxRequest bounds a request's body, in bytes.
const maxRequest = 64 << 10

func orderHandlers(mux *http.ServeMux, b Backend) {
	mux.HandleFunc("GET /v1/orders", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, Orders{b.Orders()})
	})
	mux.HandleFunc("POST /v1/orders", func(w http.ResponseWriter, r *http.Request) {
		var req OrderRequest
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&req); err != nil {
			writeError(w, http.StatusBadRequest, fmt.Errorf("the order is not understood: %w", err))
			return
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			writeError(w, http.StatusBadRequest, errors.New("the order is not understood: one JSON object is allowed, and more came"))
			return
		}
		o, err := b.Order(req)
		if err != nil {
			writeError(w, orderStatus(err), err)
			return
		}
		writeJSON(w, http.StatusOK, o)
	})
	mux.HandleFunc("DELETE /v1/orders/{what}", func(w http.ResponseWriter, r *http.Request) {
		list, err := b.Release(r.PathValue("what"))
		if err != nil {
			writeError(w, orderStatus(err), err)
			return
		}
		writeJSON(w, http.StatusOK, Orders{list})
	})
}

func orderStatus(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrNotSaved):
		return http.StatusServiceUnavailable
	default:
		return http.StatusBadRequest
	}
}

// Orders lists all orders, oldest first.
func (c *Client) Orders(ctx context.Context) ([]Order, error) {
	var out Orders
	err := c.call(ctx, http.MethodGet, "/v1/orders", nil, &out)
	return out.Orders, err
}

// Order gives an order.
func (c *Client) Order(ctx context.Context, req OrderRequest) (Order, error) {
	var out Order
	err := c.call(ctx, http.MethodPost, "/v1/orders", req, &out)
	return out, err
}

// Release ends an order by its id, or all orders of an app by its name, and returns them.
func (c *Client) Release(ctx context.Context, what string) ([]Order, error) {
	var out Orders
	err := c.call(ctx, http.MethodDelete, "/v1/orders/"+url.PathEscape(what), nil, &out)
	return out.Orders, err
}
