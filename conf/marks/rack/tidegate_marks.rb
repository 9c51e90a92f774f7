# One file per request in progress, for `tidegate agent` to count; in config.ru: use TidegateMarks, "/run/tidegate/marks/shop"
require "fileutils"
require "rack/body_proxy"

class TidegateMarks
  SEQ, LOCK = [0], Mutex.new

  def initialize(app, dir = ENV["TIDEGATE_MARKS"])
    @app, @dir, @pid = app, dir, nil
    mark("w") # the application has been loaded: this process can serve
  end

  def call(env)
    mark, later = mark("b", ".#{LOCK.synchronize { SEQ[0] += 1 }}"), false
    status, headers, body = answer = @app.call(env)
    return answer if env["rack.hijack_io"] || headers["rack.hijack"] # nobody closes the body
    body, later = Rack::BodyProxy.new(body) { unmark(mark) }, true
    [status, headers, body]
  ensure
    unmark(mark) unless later
  end

  def mark(kind, seq = "")
    pid = Process.pid
    if @pid != pid # at first, and after a fork
      FileUtils.mkdir_p(@dir)
      @me = "#{pid}.#{File.binread("/proc/self/stat").rpartition(")")[2].split[19]}" # the start time is field 22
      @pid = pid
    end
    File.open(path = File.join(@dir, "#{kind}.#{@me}#{seq}"), File::WRONLY | File::CREAT | File::EXCL, 0o644).close
    [pid, path]
  rescue StandardError # a mark never fails a request
  end

  def unmark(mark)
    File.unlink(mark[1]) if mark && mark[0] == Process.pid # a child that the request forked leaves its parent's mark
  rescue StandardError
  end
end
