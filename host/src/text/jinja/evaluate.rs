//! The value of an expression.
use std::rc::Rc;

use super::arguments::Args;
use super::ast::{Arguments, Comparison, Constant, Expression, Filter};
use super::fault::{Fault, Result};
use super::render::Renderer;
use super::value::{Dict, Scope, Value};
use super::{filters, functions};

impl Renderer {
    pub fn evaluate(&self, expression: &Expression, scope: &Rc<Scope>) -> Result<Value> {
        self.budget.steps(1)?;
        match expression {
            Expression::Constant(constant) => Ok(constant_value(constant)),
            Expression::Name(name) => Ok(self.lookup(name, scope)),
            _ => self.budget.deeper(|| self.compound(expression, scope)),
        }
    }

    fn compound(&self, expression: &Expression, scope: &Rc<Scope>) -> Result<Value> {
        let value = |expression: &Expression| self.evaluate(expression, scope);
        match expression {
            Expression::Constant(_) | Expression::Name(_) => value(expression),
            Expression::List(items) => Value::list(self.values(items, scope)?),
            Expression::Tuple(items) => Value::tuple(self.values(items, scope)?),
            Expression::Dict(entries) => {
                let mut dict = Dict::new();
                for (key, item) in entries {
                    dict.insert(value(key)?, value(item)?, &self.budget)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            Expression::Negative(operand) => self.negative(&value(operand)?),
            Expression::Positive(operand) => self.positive(&value(operand)?),
            Expression::Not(operand) => Ok(Value::Bool(!value(operand)?.is_true())),
            Expression::And(pair) => {
                let left = value(&pair[0])?;
                if left.is_true() { value(&pair[1]) } else { Ok(left) }
            }
            Expression::Or(pair) => {
                let left = value(&pair[0])?;
                if left.is_true() { Ok(left) } else { value(&pair[1]) }
            }
            Expression::Binary(operator, pair) => self.binary(*operator, &value(&pair[0])?, &value(&pair[1])?),
            Expression::Concat(parts) => self.concat(parts, scope),
            Expression::Compare(first, rest) => self.comparison(first, rest, scope),
            Expression::Attribute(object, name) => self.attribute(&value(object)?, name),
            Expression::Item(pair) => match &pair[1] {
                Expression::Slice(parts) => {
                    let object = value(&pair[0])?;
                    let part = |part: &Option<Expression>| part.as_ref().map_or(Ok(Value::None), value);
                    self.slice(&object, [part(&parts[0])?, part(&parts[1])?, part(&parts[2])?])
                }
                key => self.item(&value(&pair[0])?, &value(key)?),
            },
            Expression::Slice(_) => Err(Fault::unsupported("a slice beside other indices")),
            Expression::Call(callee, arguments) => self.call_expression(callee, arguments, scope, None),
            Expression::Filter(input, filter) => {
                let input = value(input)?;
                self.filtered(filter, input, scope)
            }
            Expression::Test(input, test) => {
                let input = value(input)?;
                let arguments = self.arguments(&test.arguments, scope)?;
                Ok(Value::Bool(self.test(&test.name, &input, arguments)?))
            }
            Expression::Conditional(parts) => match &**parts {
                (condition, then, _) if value(condition)?.is_true() => value(then),
                (_, _, Some(otherwise)) => value(otherwise),
                _ => {
                    Ok(Value::undefined("the inline if-expression evaluated to false and no else section was defined."))
                }
            },
        }
    }

    fn values(&self, expressions: &[Expression], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        self.budget.items(expressions.len())?;
        expressions.iter().map(|expression| self.evaluate(expression, scope)).collect()
    }

    fn concat(&self, parts: &[Expression], scope: &Rc<Scope>) -> Result<Value> {
        let mut text = String::new();
        for part in parts {
            let part = self.evaluate(part, scope)?;
            self.append_str(&part, &mut text)?;
        }
        Ok(Value::text(text))
    }

    fn comparison(&self, first: &Expression, rest: &[(Comparison, Expression)], scope: &Rc<Scope>) -> Result<Value> {
        let mut left = self.evaluate(first, scope)?;
        for (comparison, right) in rest {
            let right = self.evaluate(right, scope)?;
            if !self.compares(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// The value of a name: of a scope, else of the context, else a function of the environment.
    pub fn lookup(&self, name: &str, scope: &Scope) -> Value {
        let found = scope.get(name).or_else(|| self.context_value(name));
        let found = found.or_else(|| functions::find(name).map(Value::Function));
        found.unwrap_or_else(|| Value::undefined(format!("'{name}' is undefined")))
    }

    pub fn arguments(&self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<Args> {
        let mut positional = self.values(&arguments.positional, scope)?;
        let mut named = Vec::new();
        for (name, value) in &arguments.named {
            named.push((Rc::from(&**name), self.evaluate(value, scope)?));
        }
        if let Some(star) = &arguments.star {
            positional.extend(self.items_of(&self.evaluate(star, scope)?)?);
        }
        if let Some(stars) = &arguments.double_star {
            let Value::Dict(dict) = self.evaluate(stars, scope)? else {
                return Err(Fault::failed("argument after ** must be a mapping"));
            };
            for (key, value) in dict.entries() {
                let key = key.as_text().ok_or_else(|| Fault::failed("keywords must be strings"))?;
                named.push((key.into(), value.clone()));
            }
        }
        for (at, (name, _)) in named.iter().enumerate() {
            self.budget.steps(at)?;
            if named[..at].iter().any(|(other, _)| other == name) {
                return Err(Fault::failed(format!("keyword argument repeated: {name}")));
            }
        }
        Ok(Args { positional, named })
    }

    pub fn call_expression(
        &self,
        callee: &Expression,
        arguments: &Arguments,
        scope: &Rc<Scope>,
        caller: Option<Value>,
    ) -> Result<Value> {
        let callee = self.evaluate(callee, scope)?;
        let mut args = self.arguments(arguments, scope)?;
        args.named.extend(caller.map(|caller| ("caller".into(), caller)));
        self.call(&callee, args)
    }

    fn filtered(&self, filter: &Filter, input: Value, scope: &Rc<Scope>) -> Result<Value> {
        let arguments = self.arguments(&filter.arguments, scope)?;
        filters::apply(self, &filter.name, input, arguments)
    }

    /// `input` through filters, one after the other.
    pub fn through(&self, filters: &[Filter], input: Value, scope: &Rc<Scope>) -> Result<Value> {
        filters.iter().try_fold(input, |value, filter| self.filtered(filter, value, scope))
    }
}

fn constant_value(constant: &Constant) -> Value {
    match constant {
        Constant::None => Value::None,
        Constant::Bool(value) => Value::Bool(*value),
        Constant::Int(value) => Value::Int(*value),
        Constant::Float(value) => Value::Float(*value),
        Constant::Text(text) => Value::text(&**text),
    }
}
