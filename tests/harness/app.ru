# The application of the tests for Ruby's servers: the URLs and settings of app.py, as far as tests need them.
#   /            answers after ?ms=N milliseconds (default: $APP_MS, else 0)
#   /pid         the worker's pid
#   /status      answers with ?code=N
#   /stream      five chunks, ?ms=N apart
#   /boom        raises
#   /exit        asks the process to exit
# $APP_BOOT_MS delays the loading, $MARKS_LIB is the folder of the mark middleware and $MARKS that of the marks; both or none.
sleep ENV.fetch("APP_BOOT_MS", "0").to_i / 1000.0

if ENV["MARKS_LIB"]
  require File.join(ENV["MARKS_LIB"], "tidegate_marks")
  use TidegateMarks, ENV["MARKS"]
end

Stream = Struct.new(:ms) do
  def each
    5.times do
      sleep ms / 1000.0
      yield "chunk\n"
    end
  end
end

run(lambda do |env|
  query = env["QUERY_STRING"].split("&").map { |pair| pair.split("=", 2) }.to_h
  ms = query.fetch("ms", ENV.fetch("APP_MS", "0")).to_i
  code, body = 200, "ok\n"
  case env["PATH_INFO"]
  when "/pid" then body = "#{Process.pid}\n"
  when "/status" then code = query.fetch("code", "200").to_i
  when "/boom" then raise "boom"
  when "/exit" then exit
  when "/stream" then next [200, { "content-type" => "text/plain" }, Stream.new(ms)]
  end
  sleep ms / 1000.0 if ms > 0
  [code, { "content-type" => "text/plain", "content-length" => body.bytesize.to_s }, [body]]
end)
