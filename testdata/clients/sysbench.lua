-- sysbench: see scenario.py. Under a policy it reads a masked value and is
-- refused one, as texts and as prepared statements.
function thread_init()
   con = sysbench.sql.driver():connect()
end

function event()
   print("masked: " .. con:query_row("SELECT email FROM customers WHERE id = 1"))
   local ok, err = pcall(function() return con:query("SELECT id FROM customers WHERE ssn = '1'") end)
   print("refused: " .. tostring(ok) .. " " .. tostring(type(err) == "table" and err.sql_errno or err))
   local id = nil
   local prepared = con:prepare("SELECT id, name FROM customers WHERE id = ?")
   id = prepared:bind_create(sysbench.sql.type.INT)
   prepared:bind_param(id)
   id:set(1)
   prepared:execute()
   prepared:close()
end

function thread_done()
   con:disconnect()
end
