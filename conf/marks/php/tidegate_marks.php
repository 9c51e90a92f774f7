<?php // One file per request in progress, for `tidegate agent` to count: php_admin_value[auto_prepend_file] of a php-fpm pool.
new class {
    private $pid, $idle, $busy;

    public function __construct()
    {
        set_error_handler(static fn() => true); // a mark neither fails a request nor shows in its log or error_get_last()
        try {
            $dir = getenv('TIDEGATE_MARKS'); // env[TIDEGATE_MARKS] of the pool
            $stat = file_get_contents('/proc/self/stat'); // "pid (name) state ...": the start time is field 22
            if ($dir && $stat) {
                $me = getmypid() . '.' . explode(' ', substr($stat, strrpos($stat, ')') + 2), 21)[19];
                [$this->idle, $this->busy] = ["$dir/w.$me", "$dir/b.$me." . hrtime(true)];
                if (!rename($this->idle, $this->busy)) { // its first request, or the end of the one before was cut off
                    is_dir($dir) || mkdir($dir, 0777, true);
                    array_map('unlink', glob("$dir/b.$me.*") ?: []);
                    touch($this->busy);
                }
                $this->pid = getmypid();
                // Registered late, so that it comes after all that the application registers.
                register_shutdown_function(fn() => register_shutdown_function([$this, '__destruct']));
            }
        } catch (\Throwable $e) { // php.ini disables a function
        }
        restore_error_handler();
    }

    public function __destruct() // the shutdown comes after a fatal error too, the destructor when the application exits in its own
    {
        if ($this->pid && $this->pid === getmypid()) { // a child that the request forked leaves its parent's mark
            $this->pid = null;
            set_error_handler(static fn() => true);
            rename($this->busy, $this->idle);
            restore_error_handler();
        }
    }
};
