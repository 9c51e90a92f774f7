package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tidegate/tidegate/internal/unixsock"
)

// Backend is what the server shows; the controller implements it.
type Backend interface {
	// Status of the last turn; false before the first.
	Status() (Status, bool)
	// Alive is nil while turns follow each other in time, Ready while every source answers.
	Alive() error
	Ready() error
	// Reload reads the configuration again, all or nothing.
	Reload() error
	// Orders lists the orders, Order gives one, Release ends one by its id or all of an app by its name. An error is a sentence for
	// a person; nothing has changed then.
	Orders() []Order
	Order(req OrderRequest) (Order, error)
	Release(what string) ([]Order, error)
	// WriteMetrics writes all metrics in Prometheus text format.
	WriteMetrics(w io.Writer)
}

// Handler serves the whole interface, or with public only metrics and health.
func Handler(b Backend, public bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		b.WriteMetrics(w)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { health(w, b.Alive()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { health(w, b.Ready()) })
	if public {
		return mux
	}
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		s, ok := b.Status()
		if !ok {
			writeError(w, http.StatusServiceUnavailable, errors.New("the first turn is not over yet"))
			return
		}
		writeJSON(w, http.StatusOK, s)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, _ *http.Request) {
		if err := b.Reload(); err != nil {
			writeError(w, http.StatusConflict, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"result": "the configuration was loaded"})
	})
	orderHandlers(mux, b)
	// A page in somebody's browser must not give orders to an API on a loopback address.
	return http.NewCrossOriginProtection().Handler(mux)
}

func health(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The status line has gone out; a client that left needs no answer.
	_ = json.NewEncoder(w).Encode(v)
}

func writeError(w http.ResponseWriter, code int, err error) {
	writeJSON(w, code, map[string]string{"error": err.Error()})
}

// Listen opens "unix:/path" (mode 0660; the file of a dead process is replaced, a living one refused) or "host:port".
func Listen(addr string) (net.Listener, error) {
	listen := func() (net.Listener, error) { return net.Listen("tcp", addr) }
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		listen = func() (net.Listener, error) { return unixsock.Listen(path) }
	}
	ln, err := listen()
	if err != nil {
		return nil, fmt.Errorf("open the API: %w", err)
	}
	return ln, nil
}

// Serve answers on ln until ctx ends, then waits briefly for requests in progress.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadTimeout: 10 * time.Second, WriteTimeout: 60 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API at %s: %w", ln.Addr(), err)
	}
	return nil
}
