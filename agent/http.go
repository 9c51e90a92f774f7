package agent

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"
)

// maxOrder bounds the body of an order, in bytes.
const maxOrder = 4096

// apiError is an answer other than 200: a status code and one sentence for a person.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

func badOrder(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func staleOrder(format string, args ...any) error {
	return &apiError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

// Handler is the agent's HTTP API:
//
//	GET  /v1/report               Report
//	PUT  /v1/apps/NAME/target     Order -> AppReport; 400 bad order, 404 unknown application, 409 older epoch, 413 too long
//	PUT  /v1/apps/NAME/drain      DrainOrder -> AppReport; 400, 404, 413
//	GET  /metrics                 Prometheus text format
//	GET  /healthz                 200 while the process answers
//	GET  /readyz                  200 once every application was looked at, 503 before
//
// Errors are {"error":"one sentence"}. With Options.Token set, all but the two health URLs want "Authorization: Bearer
// TOKEN" and answer 401 without.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, method string, f func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method && (method != http.MethodGet || r.Method != http.MethodHead) {
				w.Header().Set("Allow", method)
				writeError(w, &apiError{http.StatusMethodNotAllowed, fmt.Sprintf("%s allows %s only", r.URL.Path, method)})
				return
			}
			if err := f(w, r); err != nil {
				writeError(w, err)
			}
		})
	}
	handle("/v1/report", http.MethodGet, a.guarded(a.getReport))
	handle("/v1/apps/{name}/target", http.MethodPut, a.guarded(a.putTarget))
	handle("/v1/apps/{name}/drain", http.MethodPut, a.guarded(a.putDrain))
	handle("/metrics", http.MethodGet, a.guarded(a.getMetrics))
	handle("/healthz", http.MethodGet, func(w http.ResponseWriter, _ *http.Request) error { return writeText(w, "ok\n") })
	handle("/readyz", http.MethodGet, a.getReady)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &apiError{http.StatusNotFound, fmt.Sprintf("there is nothing at %.200q", r.URL.Path)})
	})
	return mux
}

// guarded asks for the token. Hashes are compared, so that neither the content nor the length shows in the time taken.
func (a *Agent) guarded(f func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	if a.opt.Token == "" {
		return f
	}
	want := sha256.Sum256([]byte(a.opt.Token))
	return func(w http.ResponseWriter, r *http.Request) error {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !ok {
			w.Header().Set("WWW-Authenticate", `Bearer realm="tidegate agent"`)
			return &apiError{http.StatusUnauthorized, "the bearer token is missing or wrong"}
		}
		return f(w, r)
	}
}

func (a *Agent) getReport(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, a.report(time.Now()))
}

func (a *Agent) putTarget(w http.ResponseWriter, r *http.Request) error {
	var o Order
	app, err := a.ordered(w, r, &o, `{"workers":N,"epoch":E}`)
	if err != nil {
		return err
	}
	if o.Workers == nil || o.Epoch == nil {
		return badOrder("the order needs both workers and epoch")
	}
	if err := app.order(*o.Workers, *o.Epoch); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, app.report(time.Now()))
}

func (a *Agent) putDrain(w http.ResponseWriter, r *http.Request) error {
	var o DrainOrder
	app, err := a.ordered(w, r, &o, `{"drain":true} or {"drain":false}`)
	if err != nil {
		return err
	}
	if o.Drain == nil {
		return badOrder("the order needs drain")
	}
	if err := a.drains.set(app.cfg.Name, *o.Drain); err != nil {
		return err
	}
	app.drain(*o.Drain)
	a.opt.Log.Info("an application was told to drain, or to serve again", "app", app.cfg.Name, "drain", *o.Drain)
	return writeJSON(w, http.StatusOK, app.report(time.Now()))
}

// ordered finds the application of an order and decodes its body.
func (a *Agent) ordered(w http.ResponseWriter, r *http.Request, order any, form string) (*app, error) {
	app := a.byName[r.PathValue("name")]
	if app == nil {
		return nil, &apiError{http.StatusNotFound, fmt.Sprintf("there is no application %.80q on this node", r.PathValue("name"))}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxOrder))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return nil, &apiError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the order is longer than %d bytes", maxOrder)}
	}
	if err != nil {
		return nil, badOrder("the order cannot be read: %v", err)
	}
	return app, parseOrder(body, order, form)
}

// parseOrder is strict: one JSON object, no fields but those of order.
func parseOrder(body []byte, order any, form string) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	var wrong *json.UnmarshalTypeError
	if err := dec.Decode(order); errors.As(err, &wrong) && wrong.Field != "" {
		allowed := "a whole number"
		if wrong.Type.Kind() == reflect.Bool {
			allowed = "true or false"
		}
		return badOrder("the order is not the JSON object %s: %s has to be %s, not %s", form, wrong.Field, allowed, wrong.Value)
	} else if err != nil {
		return badOrder("the order is not the JSON object %s: %v", form, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return badOrder("the order has something after the JSON object")
	}
	return nil
}

func (a *Agent) getMetrics(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	a.set.WritePrometheus(w)
	return nil
}

func (a *Agent) getReady(w http.ResponseWriter, _ *http.Request) error {
	for _, app := range a.apps {
		if !app.looked() {
			return &apiError{http.StatusServiceUnavailable, fmt.Sprintf("the application %s has not been looked at yet", app.cfg.Name)}
		}
	}
	return writeText(w, "ready\n")
}

func writeText(w http.ResponseWriter, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // the client is gone when this fails
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone when this fails
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var e *apiError
	if errors.As(err, &e) {
		status = e.status
	}
	_ = writeJSON(w, status, map[string]string{"error": err.Error()}) // two strings can be encoded
}
