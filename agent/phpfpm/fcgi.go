package phpfpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// FastCGI 1.0 record types, section 8 of the specification.
const (
	fcgiVersion  = 1
	beginRequest = 1
	endRequest   = 3
	params       = 4
	stdin        = 5
	stdout       = 6
	stderr       = 7
	// responder is the role of a program that answers HTTP requests.
	responder = 1
	// requestID is that of the only request of a connection.
	requestID = 1
)

// maxAnswer bounds what is read of one answer, in bytes; a status page has about 500.
const maxAnswer = 64 << 10

// askTimeout bounds one question. The answer is there in less than a millisecond when the status listener has a free child.
const askTimeout = 500 * time.Millisecond

// dial splits "unix:/path" from "HOST:PORT".
func dial(addr string) (net.Conn, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return net.DialTimeout("unix", path, askTimeout)
	}
	return net.DialTimeout("tcp", addr, askTimeout)
}

// get asks the FastCGI server at addr for path?query and returns the body of its answer.
func get(addr, path, query string) ([]byte, error) {
	c, err := dial(addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(askTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.Write(request(path, query)); err != nil {
		return nil, err
	}
	out, err := readAnswer(c)
	if err != nil {
		return nil, err
	}
	return body(out)
}

// request is a whole GET request: the records BEGIN_REQUEST, PARAMS, and empty PARAMS and STDIN, which end them.
func request(path, query string) []byte {
	var p []byte
	for _, kv := range [][2]string{
		{"REQUEST_METHOD", "GET"}, {"SCRIPT_NAME", path}, {"SCRIPT_FILENAME", path}, {"REQUEST_URI", path + "?" + query},
		{"QUERY_STRING", query}, {"SERVER_PROTOCOL", "HTTP/1.1"}, {"GATEWAY_INTERFACE", "CGI/1.1"},
	} {
		p = appendLength(appendLength(p, len(kv[0])), len(kv[1]))
		p = append(append(p, kv[0]...), kv[1]...)
	}
	b := appendRecord(nil, beginRequest, []byte{0, responder, 0, 0, 0, 0, 0, 0})
	b = appendRecord(b, params, p)
	b = appendRecord(b, params, nil)
	return appendRecord(b, stdin, nil)
}

// appendLength writes the length of a name or a value (section 3.4): one byte, or four with the highest bit set.
func appendLength(b []byte, n int) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
}

func appendRecord(b []byte, kind byte, content []byte) []byte {
	b = append(b, fcgiVersion, kind, 0, requestID)
	b = binary.BigEndian.AppendUint16(b, uint16(len(content)))
	return append(append(b, 0, 0), content...)
}

// readAnswer gathers the STDOUT records up to END_REQUEST.
func readAnswer(r io.Reader) ([]byte, error) {
	var out, complaint []byte
	var head [8]byte
	for read := 0; read < 2*maxAnswer; {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, fmt.Errorf("the answer ends early: %w", err)
		}
		length, padding := int(binary.BigEndian.Uint16(head[4:])), int(head[6])
		if head[0] != fcgiVersion || binary.BigEndian.Uint16(head[2:]) != requestID {
			return nil, errors.New("the answer is not FastCGI")
		}
		content := make([]byte, length+padding)
		if _, err := io.ReadFull(r, content); err != nil {
			return nil, fmt.Errorf("the answer ends early: %w", err)
		}
		read += len(head) + len(content)
		content = content[:length]
		switch head[1] {
		case stdout:
			if out = append(out, content...); len(out) > maxAnswer {
				return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
			}
		case stderr:
			complaint = append(complaint, content[:min(length, max(0, 200-len(complaint)))]...)
		case endRequest:
			if length != 8 {
				return nil, errors.New("the answer's end is not FastCGI")
			}
			if content[4] != 0 { // protocolStatus
				return nil, fmt.Errorf("the request was refused with the protocol status %d", content[4])
			}
			if len(out) == 0 && len(complaint) > 0 {
				return nil, fmt.Errorf("the answer is empty: %.200q", complaint)
			}
			return out, nil
		default:
			return nil, fmt.Errorf("the answer has a FastCGI record of type %d", head[1])
		}
	}
	return nil, fmt.Errorf("the answer is longer than %d bytes", 2*maxAnswer)
}

// body splits the CGI headers off and refuses a status other than 200, which is the one that goes without saying.
func body(out []byte) ([]byte, error) {
	head, rest, ok := bytes.Cut(out, []byte("\r\n\r\n"))
	if !ok {
		return nil, errors.New("the answer has no end of its headers")
	}
	for line := range bytes.Lines(head) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		if bytes.EqualFold(key, []byte("Status")) && !bytes.HasPrefix(value, []byte("200")) {
			return nil, fmt.Errorf("the answer is %.60q", value)
		}
	}
	return rest, nil
}
